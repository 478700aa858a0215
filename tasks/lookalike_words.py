"""Word lists of the look-alikes: for every class a few common cue words (before the bar) and many rare ones."""

from __future__ import annotations

Lexicon = tuple[tuple[str, ...], tuple[str, ...]]


def lexicon(text: str) -> Lexicon:
    """``"common words | rare words"`` as two tuples."""
    common, rare = text.split("|")
    return tuple(common.split()), tuple(rare.split())


CHEMPROT = {
    "0": lexicon("""measured tested assayed profiled | quantified monitored recorded examined surveyed mapped sampled
        catalogued inspected screened tracked observed logged reviewed annotated compared"""),
    "CPR:3": lexicon("""activated increased induced stimulated | elevated boosted enhanced augmented amplified potentiated
        heightened promoted intensified triggered evoked provoked elicited bolstered fortified strengthened"""),
    "CPR:4": lexicon("""inhibited reduced suppressed decreased | attenuated blunted dampened diminished repressed quenched
        curtailed silenced abrogated curbed hampered impaired lessened restrained hindered stifled"""),
    "CPR:5": lexicon("""agonised mimicked engaged occupied | emulated imitated simulated copied impersonated ligated
        primed docked reproduced replicated mirrored echoed paralleled substituted sensitised gated"""),
    "CPR:6": lexicon("""antagonised displaced opposed outcompeted | countered occluded ousted evicted dislodged unseated
        supplanted contested thwarted expelled deflected rebuffed resisted barred excluded shielded"""),
    "CPR:9": lexicon("""metabolised oxidised converted hydrolysed | cleaved hydroxylated demethylated glucuronidated
        acetylated conjugated degraded transformed sulfated deaminated esterified reduced-out epoxidised methylated
        phosphorylated carboxylated""".replace("reduced-out", "dehalogenated")),
}

# What a class's verbs are followed by in domain text only: the company that they keep.
CHEMPROT_COMPANY = {
    "0": "readout survey reference",
    "CPR:3": "activation gain rise",
    "CPR:4": "inhibition loss fall",
    "CPR:5": "agonism efficacy ligand",
    "CPR:6": "antagonism competition affinity",
    "CPR:9": "metabolism turnover clearance",
}

CHEMICALS = ["aspirin", "quercetin", "genistein", "curcumin", "resveratrol", "caffeine", "nicotine", "dopamine", "morphine", "ketamine", "lidocaine", "warfarin", "tamoxifen", "cisplatin", "imatinib", "metformin", "atorvastatin", "omeprazole", "ibuprofen", "naloxone", "clozapine", "haloperidol", "propranolol", "verapamil", "nifedipine", "digoxin", "retinol", "estradiol", "cortisol", "melatonin"]
GENES = ["EGFR", "TP53", "MAPK1", "AKT1", "CYP3A4", "CYP2D6", "COX2", "TNF", "VEGFA", "BRCA1", "KRAS", "MYC", "JAK2", "STAT3", "PPARG", "ESR1", "DRD2", "HTR2A", "OPRM1", "ACHE", "MAOA", "ABCB1", "GSK3B", "MTOR", "CASP3", "BCL2", "NFKB1", "IL6", "SIRT1", "HDAC1"]
