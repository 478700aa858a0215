"""Where `prepare` fetches each corpus, with sizes and git blob ids.

BLURB's tasks come from the VE-KD repository at one commit, eleven of them with all splits. The blob
ids are those of its tree. That of ddi's train file is not known, but its rows are, so its sorted
lines are verified. Nothing could verify the train and dev files of ebmnlp, so they are not fetched.
"""

from __future__ import annotations

from kdbench.data.prepare import Download, Remote
from kdbench.tasks.emr import convert_ktas

VE_KD = "pZvfkv3t8PA9vAc/VE-KD/6b1604611927e80ab907613b84bc310919059878/evaluation_data"
MTL = ("cambridgeltl/MTL-Bioinformatics-2016/4e61f0a6417123e7bcdc3ef0b6c7ca1823d3c16a/data/"
       "BC2GM-IOBES")


def ve_kd(folder: str, train: tuple[int, str], dev: tuple[int, str],
          test: tuple[int, str]) -> Download:
    """The three files of one folder of the VE-KD repository, each as (size, blob id)."""
    files = {"train": train, "dev": dev, "test": test}
    return Download({f"{split}.json": Remote(f"{VE_KD}/{folder}/{split}.json", *facts)
                     for split, facts in files.items()})


DOWNLOADS: dict[str, Download] = {
    "chemprot": ve_kd(
        "seqcls/chemprot_hf",
        (5184295, "eca503b487c43e6236fbfa6b36b0ae727f8677ff"),
        (3302072, "c6ce416d3bf2c26c2d5c3c143a7a580cdef7519d"),
        (4870431, "fd643b3ad99a5dc95eb154e06c852c0b1c941ee9"),
    ),
    "ddi": Download(
        {
            "train.json": Remote(
                f"{VE_KD}/seqcls/DDI_hf/train.json",
                10007839,
                sorted_lines="c6fe8685c1a44af70682780be2e5d04cefbb6b7c90440827f9b46a12992b88ce",
            ),
            "dev.json": Remote(
                f"{VE_KD}/seqcls/DDI_hf/dev.json",
                718165,
                "2be5767452e43e4c2f7f28880244328251457144",
            ),
            "test.json": Remote(
                f"{VE_KD}/seqcls/DDI_hf/test.json",
                1928179,
                "8ab421a9ed1cd79276644976ba1aedef8d5445bc",
            ),
        }
    ),
    "gad": ve_kd(
        "seqcls/GAD_hf",
        (930793, "0b17c923c7bf34ec02ea8d4585bf6db19da91578"),
        (114387, "eb31ec05d8b14a4e9d5df63aef8a0dabd43e19e6"),
        (122031, "da91d559d4566e3e895ab2804ccaf2847692402a"),
    ),
    "hoc": ve_kd(
        "seqcls/HoC_hf",
        (2923651, "3cdd3e415d479bd3878e10ec5ba3f94dee069ba6"),
        (439047, "829bacebb6c0322ea71925eeac5f95b45412d111"),
        (855389, "8b707ee1078c0afec218f93300970145e82e2401"),
    ),
    "bioasq": ve_kd(
        "seqcls/bioasq_hf",
        (2087642, "fb1f76e615f3e71d3e25fb60a1f0eb37ac8d322e"),
        (230481, "5e5ba1a88028f101e1dee8ff0c493d394d178268"),
        (246140, "0dc378d09eabe28be82c6df38ec2f05def3c04c8"),
    ),
    "pubmedqa": ve_kd(
        "seqcls/pubmedqa_hf",
        (675920, "7bfa7c255a8057ccd30bd940492e732ed5192d30"),
        (74792, "d559aad0235dd02440357b5c802ea01d0411b5ef"),
        (761725, "bb1671019687d685d5c42a27313fcb1f40a4701d"),
    ),
    "bc2gm": ve_kd(
        "tokcls/BC2GM_hf",
        (5344681, "c51de880b34b4bf74b63ff5ebcd50cbd2adb4a3f"),
        (1066130, "d34d2c04da95afb5ee2f38d069611faa7a55d416"),
        (2150830, "5fd42f0521475b074e64e161653766b6c999f451"),
    ),
    "jnlpba": ve_kd(
        "tokcls/JNLPBA_hf",
        (7018596, "276cb086571bdd15c2b646e9208e30a07f327e12"),
        (740255, "787b8e1769fb37e4bcf12acb09a3a97a209b58fe"),
        (1594845, "b13f0a6d34926e03ba3726077ef629e63d18d1e1"),
    ),
    "ncbi-disease": ve_kd(
        "tokcls/NCBI-disease_hf",
        (2077567, "97bb2169c2ee96e61502be55551346cf763cecc5"),
        (365041, "89cb46ccab55413216a4336f7c0c97ebbe48ce1e"),
        (372826, "979eb542445a07e9acc289040bdff84108248cba"),
    ),
    "bc5cdr-disease": ve_kd(
        "tokcls/BC5CDR-disease_hf",
        (1809572, "c4e82329c8d004e4059dd79ec0a897479862c26f"),
        (1799066, "f02daffc06d58e4d816a05f5e2744f4b679379b6"),
        (1899636, "4adcd7d1e7cd6c6fe2378dd11315551e0b580589"),
    ),
    "bc5cdr-chem": ve_kd(
        "tokcls/BC5CDR-chem_hf",
        (1809572, "024abe4142ca7e289c711339bf7fca0739aef507"),
        (1799066, "5ad5875bf2cddf5f87ea57b9be917c6bf1df0b2b"),
        (1899636, "6f9f423e558feaf85fedfc4740053b85ee400847"),
    ),
    "ebmnlp": Download(
        {
            "test.json": Remote(
                f"{VE_KD}/tokcls/ebmnlp_hf/test.json",
                875927,
                "97b6cadf000388c53cb9f95b729ebd4e8ff4310c",
            )
        },
        missing="no checksum of its train and dev files is known, so they are not fetched: take "
                "them from https://nlp.stanford.edu/projects/myasu/LinkBERT/data.zip "
                "(tokcls/ebmnlp_hf), or rebuild them from EBM-NLP, and call `bench.py prepare "
                "ebmnlp --from FOLDER`",
    ),
    "bc2gm_iobes": Download(
        {
            "train.tsv": Remote(
                f"{MTL}/train.tsv", 2894166, "ecd0947692905029d17227b3cbe623da9b10aa85"
            ),
            "val.tsv": Remote(
                f"{MTL}/devel.tsv", 577659, "8836eb1461f687e88e66ff4f561f19e8faa1e9b1"
            ),
            # Derived from bc2gm/test.json by the conversion that gives train.tsv and devel.tsv byte
            # for byte.
            "test.tsv": Remote(
                f"{MTL}/test.tsv", 1165056, "3335515cf4d9342837a24131f69da51655c3fa82"
            ),
        }
    ),
    "ktas_ed": Download(
        # its commit is not pinned, but its blob id is
        {
            "data.csv": Remote(
                "yerin16/ai-diagnosis-assistant/HEAD/data/data.csv",
                128674,
                "2bda77aa9fe075e56f9e6e23e29471493c5a9b27",
            )
        },
        convert=convert_ktas,
    ),
}
