"""What `tests.shape` counts, on a text that can be counted by hand."""

from shape import Shape

TEXT = '''
import ast

flat = [x for x in range(3)]
in_the_element = [[y for y in x] for x in flat]
in_a_condition = [x for x in flat if any(y for y in x)]
in_the_iterable = [x for x in (y for y in flat)]
three_levels = [[[z for z in y] for y in x] for x in flat]
through_a_lambda = [map(lambda x: {y for y in x}, x) for x in flat]


def documented():
    """Yes."""
    def inside():
        return [x for x in flat]


def bare(): ...


def _private(): ...


try:
    import nothing
except ImportError:
    def guarded(): ...


class Base:
    def __init__(self): ...

    def work(self):
        """Documented here."""

    @property
    def size(self): ...

    @size.setter
    def size(self, value): ...


class Child(Base):
    def work(self): ...


class Grandchild(Child):
    def work(self): ...


class Visitor(ast.NodeVisitor):
    def visit(self, node): ...


class _Hidden:
    def work(self): ...
'''


def test_nested_comprehensions_are_counted_one_by_one():
    shape = Shape()
    shape.add("a.py", TEXT)
    assert shape.comprehensions == 13
    assert [place.split(":")[1] for place in shape.nested] == ["5", "6", "7", "8", "8", "9"]


def test_what_is_public_and_what_is_documented():
    shape = Shape()
    shape.add("a.py", TEXT)
    names = [f"{function.owner}.{function.name}" for function in shape.public]
    assert names == [".documented", ".bare", ".guarded", "Base.work", "Base.size", "Child.work",
                     "Grandchild.work", "Visitor.visit"]
    missing = [f"{function.owner}.{function.name}" for function in shape.undocumented]
    assert missing == [".bare", ".guarded", "Base.size", "Visitor.visit"]
    assert "4 of 8 (50 %)" in shape.report()


def test_a_base_class_may_be_in_another_file_but_must_be_the_only_one_of_its_name():
    child = "class Child(Base):\n    def work(self): ...\n"
    base = 'class Base:\n    def work(self):\n        """Documented."""\n'
    shape = Shape()
    shape.add("child.py", child)
    shape.add("base.py", base)
    assert not shape.undocumented
    shape.add("other.py", "class Base: ...\n")
    assert [function.file for function in shape.undocumented] == ["child.py"]
