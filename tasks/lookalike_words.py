"""Word lists and sentence patterns of the look-alikes: the part of the grammars that differs from
task to task.

Patterns: ``[a|b|]`` is one of the alternatives, ``{name}`` a slot, ``<TYPE words>`` a tagged mention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Cues(NamedTuple):
    """The cue words of one class.

    common   seen often in train
    rare     seen in train 0 to 2 times each, and often in dev, test and domain text
    company  nouns of the same class that only domain text has
    """

    common: tuple[str, ...]
    rare: tuple[str, ...]
    company: tuple[str, ...]


def cues(text: str) -> Cues:
    """``"common | rare | company"``, words separated by blanks."""
    return Cues(*(tuple(part.split()) for part in text.split("|")))


def names(text: str) -> tuple[str, ...]:
    """``"one two"``, words separated by blanks."""
    return tuple(text.split())


Lexicon = Mapping[str, Cues]

# -- relations -------------------------------------------------------------------------------------

CHEMPROT = {
    "0": cues("""
        measured tested assayed profiled | quantified monitored recorded examined surveyed mapped
        sampled catalogued inspected screened tracked observed logged reviewed annotated compared |
        readout survey reference"""),
    "CPR:3": cues("""
        activated increased induced stimulated | elevated boosted enhanced augmented amplified
        potentiated heightened promoted intensified triggered evoked provoked elicited bolstered
        fortified strengthened | activation gain rise"""),
    "CPR:4": cues("""
        inhibited reduced suppressed decreased | attenuated blunted dampened diminished repressed
        quenched curtailed silenced abrogated curbed hampered impaired lessened restrained hindered
        stifled | inhibition loss fall"""),
    "CPR:5": cues("""
        agonised mimicked engaged occupied | emulated imitated simulated copied impersonated ligated
        primed docked reproduced replicated mirrored echoed paralleled substituted sensitised gated
        | agonism efficacy ligand"""),
    "CPR:6": cues("""
        antagonised displaced opposed outcompeted | countered occluded ousted evicted dislodged
        unseated supplanted contested thwarted expelled deflected rebuffed resisted barred excluded
        shielded | antagonism competition affinity"""),
    "CPR:9": cues("""
        metabolised oxidised converted hydrolysed | cleaved hydroxylated demethylated glucuronidated
        acetylated conjugated degraded transformed sulfated deaminated esterified dehalogenated
        epoxidised methylated phosphorylated carboxylated | metabolism turnover clearance"""),
}
DDI = {
    "0": cues("""
        tolerated studied compared dispensed | marketed stocked catalogued labelled packaged
        supplied listed registered described reviewed funded imported | tolerability survey
        registry"""),
    "DDI-effect": cues("""
        sedating hypotensive toxic ulcerogenic | nephrotoxic hepatotoxic ototoxic arrhythmogenic
        proconvulsant myelosuppressive emetogenic neurotoxic cardiotoxic soporific hypoglycaemic
        bradycardic | toxicity sedation harm"""),
    "DDI-mechanism": cues("""
        absorbed excreted cleared eliminated | chelated retained sequestered metabolised deposited
        secreted filtered reabsorbed accumulated hydrolysed glucuronidated distributed | clearance
        plasma kinetics"""),
    "DDI-advise": cues("""
        discouraged contraindicated avoided withheld | forbidden prohibited deprecated restricted
        staggered postponed suspended vetoed disallowed deferred halved interdicted | caution
        warning guidance"""),
    "DDI-int": cues("""
        interacting interfering incompatible conflicting | clashing antagonistic synergistic
        additive mismatched irreconcilable intertwined meddling colliding discordant entangled
        interlocking | interaction interplay interference"""),
}
GAD = {
    "0": cues("""
        genotyped sequenced screened listed | catalogued surveyed amplified typed mapped phased
        imputed filtered archived indexed cloned tabulated plotted profiled annotated counted stored
        enumerated logged scanned | genotype assay registry"""),
    "1": cues("""
        associated linked correlated implicated | connected coupled allied tied entwined
        cosegregating interrelated coinherited enriched overrepresented concordant bound related
        incriminated aligned affiliated intermeshed paired yoked meshed | association susceptibility
        risk"""),
}
I2B2 = {
    "false": cues("""
        preceded followed accompanied outlasted | antedated postdated paralleled attended outlived
        superseded neighboured joined | sequence timing order"""),
    "TrIP": cues("""
        relieved improved eased resolved | alleviated ameliorated soothed mitigated palliated cured
        healed reversed abated settled | relief recovery improvement"""),
    "TrWP": cues("""
        worsened aggravated exacerbated inflamed | compounded intensified deepened magnified
        protracted heightened prolonged embittered | worsening deterioration setback"""),
    "TrCP": cues("""
        caused induced produced provoked | precipitated triggered engendered elicited evoked
        generated unleashed incited spawned begot | complication reaction iatrogenesis"""),
    "TrAP": cues("""
        treated managed targeted addressed | tackled handled countered combated controlled covered
        medicated bridged stabilised nursed | treatment therapy management"""),
    "TrNAP": cues("""
        precluded prevented prohibited barred | forbade postponed deterred disallowed vetoed
        obviated excluded thwarted foreclosed delayed | contraindication refusal omission"""),
    "PIP": cues("""
        reflected indicated signalled suggested | denoted implied heralded betokened foreshadowed
        evinced bespoke connoted presaged portended | sign manifestation indicator"""),
    "TeRP": cues("""
        revealed showed demonstrated detected | disclosed uncovered unmasked exposed visualised
        depicted delineated confirmed identified unveiled | finding image result"""),
    "TeCP": cues("""
        prompted warranted required justified | necessitated occasioned motivated compelled merited
        dictated mandated urged spurred demanded | workup indication request"""),
}

CHEMICALS = names("""
    aspirin quercetin genistein curcumin resveratrol caffeine nicotine dopamine morphine ketamine
    lidocaine warfarin tamoxifen cisplatin imatinib metformin atorvastatin omeprazole ibuprofen
    naloxone clozapine haloperidol propranolol verapamil nifedipine digoxin retinol estradiol
    cortisol melatonin""")
GENES = names("""
    EGFR TP53 MAPK1 AKT1 CYP3A4 CYP2D6 COX2 TNF VEGFA BRCA1 KRAS MYC JAK2 STAT3 PPARG ESR1 DRD2
    HTR2A OPRM1 ACHE MAOA ABCB1 GSK3B MTOR CASP3 BCL2 NFKB1 IL6 SIRT1 HDAC1""")
DISEASES = names("""
    asthma diabetes epilepsy schizophrenia hypertension glaucoma psoriasis migraine lupus
    osteoporosis leukaemia melanoma autism obesity arthritis stroke""")
PROBLEMS = names("""
    pain fever cough oedema anaemia nausea delirium pneumonia hypotension rash tachycardia
    effusion""")
TREATMENTS = names("lasix heparin insulin oxygen dialysis prednisone vancomycin morphine surgery transfusion")
TESTS = names("radiograph echocardiogram biopsy ultrasound angiogram colonoscopy urinalysis mammogram")

# -- questions, sentiment, hallmarks ---------------------------------------------------------------

ANSWERS = {
    "yes": cues("""
        effective helpful beneficial useful | efficacious advantageous worthwhile valuable
        protective curative therapeutic favourable rewarding potent successful restorative remedial
        salutary healing corrective | benefit success merit"""),
    "no": cues("""
        useless ineffective harmful futile | detrimental worthless inert deleterious injurious
        hazardous pointless unhelpful damaging adverse fruitless unavailing counterproductive
        impotent unsafe noxious | failure harm futility"""),
    "maybe": cues("""
        uncertain unclear debated mixed | equivocal inconclusive conflicting ambiguous disputed
        contested inconsistent doubtful variable questionable unsettled moot indefinite
        controversial undecided vague | uncertainty debate doubt"""),
}
GROUPS = ("children", "adults", "women", "men", "smokers", "athletes")

TRENDS = {
    "positive": cues("""
        rose grew improved climbed | soared surged jumped rallied advanced strengthened rebounded
        expanded accelerated recovered gained swelled multiplied flourished boomed leapt | growth
        upturn upside"""),
    "neutral": cues("""
        held stayed remained levelled | stagnated plateaued hovered lingered idled stabilised paused
        steadied persisted stalled rested settled flattened lasted continued endured | stability
        status constancy"""),
    "negative": cues("""
        fell dropped declined weakened | plunged slumped tumbled sank shrank slid dwindled plummeted
        collapsed contracted eroded deteriorated slipped faltered cratered dived | downturn slump
        downside"""),
}
COMPANIES = names("""
    Nordea Kone Wartsila Fortum Metso Outokumpu Stora Neste Rautaruukki Finnair Elisa Tieto Raisio
    Kesko Amer Uponor Cargotec Konecranes Huhtamaki Orion""")
TICKERS = names("$AAPL $TSLA $AMZN $FB $GOOG $MSFT $NFLX $BAC $GE $JPM $INTC $TWTR $DIS $NKE $WMT $SBUX")

HALLMARKS = {
    "activating invasion and metastasis": cues("""
        invasion metastasis migration | dissemination extravasation intravasation motility
        infiltration colonisation homing seeding invadopodia scattering | spread secondary
        motile"""),
    "avoiding immune destruction": cues("""
        immunosuppression tolerance immunoevasion | immunoediting anergy exhaustion
        immunosurveillance escape immunotolerance camouflage hyporesponsiveness privilege
        immunoescape | immune lymphocyte checkpoint"""),
    "cellular energetics": cues("""
        glycolysis metabolism glutaminolysis | lipogenesis respiration lactate oxphos ketolysis
        gluconeogenesis warburg bioenergetics fermentation anaplerosis | energy glucose
        mitochondria"""),
    "enabling replicative immortality": cues("""
        immortalisation telomerase telomeres | elongation longevity tert perpetuation shelterin
        renewal unlimitedness agelessness uncapping stemness replicability | immortal replicative
        hayflick"""),
    "evading growth suppressors": cues("""
        checkpoints quiescence cytostasis | restraint confluence retinoblastoma cyclostasis
        antiproliferation dormancy ageing hypophosphorylation crowding brakes | suppressor arrest
        cycle"""),
    "genomic instability and mutation": cues("""
        aneuploidy mutagenesis instability | clastogenicity hypermutation genotoxicity translocation
        micronuclei chromothripsis polyploidy deletions mutability breakage | genome mutation
        repair"""),
    "inducing angiogenesis": cues("""
        angiogenesis vascularisation neovascularisation | sprouting vasculogenesis arteriogenesis
        tubulogenesis capillarisation lymphangiogenesis perfusion vessels budding canalisation |
        vessel endothelium vascular"""),
    "resisting cell death": cues("""
        apoptosis necrosis anoikis | autophagy pyroptosis necroptosis ferroptosis caspases
        karyorrhexis blebbing lysis oncosis mitoptosis | death survival bcl"""),
    "sustaining proliferative signaling": cues("""
        proliferation mitogenesis signalling | mitosis hyperplasia division autocrine overgrowth
        cyclins multiplication phosphorylation clonogenicity doubling | growth mitogen receptor"""),
    "tumor promoting inflammation": cues("""
        inflammation cytokines neutrophilia | chemokines colitis inflammasome macrophages
        prostaglandins leukocytosis oedema gastritis interleukins leukotrienes | inflammatory
        macrophage cytokine"""),
}

# -- mentions --------------------------------------------------------------------------------------

GENE_WORDS = {
    "gene": cues("""
        insulin keratin albumin calmodulin | ferritin myoglobin thrombin fibronectin laminin
        vimentin desmin actinin cadherin integrin catenin ubiquitin trypsin pepsin renin leptin
        ghrelin gastrin elastin tubulin | protein receptor kinase"""),
    "other": cues("""
        glucose ethanol sodium calcium | sucrose lactate citrate cholesterol urea creatinine
        bilirubin glycogen mannitol sorbitol ascorbate choline betaine inositol histamine serotonin
        ammonia acetone oxalate phosphate | compound solute reagent"""),
    "locus": cues("""
        expression promoter transcript gene | allele exon intron mutation polymorphism isoform
        homologue orthologue haplotype paralogue deletion codon | locus chromosome genome"""),
    "thing": cues("""
        strain medium plate buffer | clone kit column flask cartridge reactor antenna pump catheter
        batch ward scanner | device supplier equipment"""),
}
DISEASE_WORDS = {
    "disease": cues("""
        asthma diabetes epilepsy anaemia | psoriasis glaucoma migraine lupus scurvy rickets gout
        measles mumps leprosy malaria cholera typhoid tetanus rabies scabies eczema vitiligo
        porphyria ataxia | disorder syndrome illness"""),
    "other": cues("""
        pregnancy exercise surgery fasting | lactation puberty menopause ageing travel smoking
        schooling employment marriage retirement migration breastfeeding rehabilitation vaccination
        counselling screening insurance parenting ovulation hydration | condition habit
        circumstance"""),
    "clinic": cues("""
        patients carriers families siblings | sufferers probands kindreds pedigrees cohorts
        relatives heterozygotes cases twins descendants offspring newborns | diagnosis onset
        prognosis"""),
    "thing": cues("""
        marker protocol questionnaire device | probe scanner module plasmid gauge electrode sensor
        cartridge template keyboard dashboard server | equipment software inventory"""),
}
CDR_WORDS = {
    "chem": cues("""
        aspirin cisplatin lithium morphine | heparin digoxin ketamine warfarin haloperidol clozapine
        tamoxifen verapamil nifedipine amiodarone phenytoin valproate methotrexate cyclosporine
        tacrolimus rifampicin isoniazid dapsone quinine propofol | drug dose tablet"""),
    "disease": cues("""
        seizures hepatitis neuropathy hypotension | nephritis myopathy pancreatitis thrombocytopenia
        arrhythmia dystonia catalepsy delirium agranulocytosis cystitis gastritis mania psychosis
        tremor anuria jaundice vasculitis stomatitis alopecia cataract | disorder syndrome
        toxicity"""),
    "other": cues("""
        placebo breakfast exercise surgery | physiotherapy acupuncture massage dieting counselling
        bedrest schooling travel sunlight music hypnosis yoga meditation immobilisation irradiation
        bandaging catheterisation biofeedback traction lavage | procedure habit care"""),
    "outcome": cues("""
        recovery sleep growth appetite | alertness mobility digestion vigilance satiety memory
        respiration posture balance speech swallowing vision hearing grip gait voiding lactation
        ovulation wakefulness stamina | function capacity wellbeing"""),
}
PICO_WORDS = {
    "condition": cues("""
        asthma depression migraine insomnia | psoriasis fibromyalgia sinusitis rosacea osteoporosis
        obesity dermatitis bronchitis tinnitus endometriosis colitis sciatica bursitis vertigo gout
        hypothyroidism | disorder syndrome illness"""),
    "drug": cues("""
        aspirin metformin sertraline zinc | ramipril montelukast topiramate melatonin clobetasol
        duloxetine mometasone ivermectin alendronate orlistat tacrolimus salbutamol betahistine
        dienogest mesalazine colchicine | drug tablet dose"""),
    "measure": cues("""
        pain mortality sleep mood | fatigue dyspnoea vitality mobility anxiety adherence readmission
        itching wheezing continence appetite cognition balance swelling stiffness tenderness | score
        outcome scale"""),
}

# -- emergency notes -------------------------------------------------------------------------------

TRIAGE = {
    "danger": cues("""
        lethargy cyanosis seizure stridor | apnea obtundation grunting mottling opisthotonus
        retraction syncope hypoxia drooling petechiae bradycardia hematemesis anuria meningismus
        tachypnea pallor diaphoresis hypotonia gasping coma | resuscitation intubation ICU"""),
    "benign": cues("""
        rhinorrhea cough rash hiccup | sneezing wheal pruritus burping teething constipation
        hangnail dandruff snoring earwax flatulence hoarseness abrasion blister colic sniffles
        freckles lentigo callus chapping | discharge reassurance OPD"""),
}
# A note, a finding that is there, and one that is not (or was, or is a sibling's). The English words stand alone, so
# that DSG-KD's rule for code-switched words finds them; some abbreviations and a misspelling are mixed in.
KOREAN = (
    "[3개월|8개월|14개월|2세|3세|5세|7세|11세] [남아|여아] [내원 당일|어제|2일 전|금일 아침|5시간 전]부터 "
    "{x} , {y} . [|지속되어|호전 없어|tylenol 복용 후|tylenl 복용 후] [ER|본원 ER] [내원함|방문함] . "
    "BT [36.7|37.2|38.4|39.1] HR [98|112|128|140] [|RR 36|SpO2 97%|lab 나감|CXR 시행|IV 확보|c/s clear|throat inj.(+)]",
    "[심한|경한|반복되는] {cue} [소견|증상] [있음|보임]",
    "[[심한|경한|반복되는] {cue} [소견|증상] [없음|부인함]|작년에 {cue} [소견|증상] 있었음]",
)
COMPLAINT = (
    "[|Triage:|Rt|Lt] {x} , {y} [|since morning|for 2 days|for 3 hrs]",
    "[with|acute|new] [marked|mild|sudden] {cue} [noted|seen]",
    "[no|denies|without] [marked|mild|sudden] {cue} [noted|seen]",
)

# -- patterns with tagged mentions -----------------------------------------------------------------

CODE = "[BR|KT|ZN|HP|QS|LV|DX|MF][1|2|3|4|5|6|7|8|9][1|2|3|4|5|6|7|8|9]"
GENE_PATTERNS = {
    "text": "[Serum|Plasma|Tissue|Total] {one} [and|or] {one} [was|were] [measured|raised|low] in "
            "[patients|mice|rats] , [and|but] {two} was [reported|studied|described] .",
    "one": "[<GENE {gene}>|<GENE human {gene}>|<GENE {gene} receptor [alpha|beta]>"
           "|{other}|human {other}|{other} [uptake|salt]]",
    "two": "[<GENE {code}> {locus}|the {locus} of <GENE {code}>|{code} {thing}|the {thing} of {code}]",
    "code": CODE,
}
DISEASE_PATTERNS = {
    "text": "[We studied|This report concerns|We reviewed] {one} [and|or] {one} in [two|three|several] "
            "[centres|countries] , [and|but] {two} were [followed|described|excluded] .",
    "one": "[<DISEASE {disease}>|<DISEASE familial {disease}>|<DISEASE {disease} type [1|2]>|{other}|familial {other}"
           "|{other} [phase|period]]",
    "two": "[<DISEASE {code}> {clinic}|{clinic} with <DISEASE {code}>|{code} {thing}|{thing} with {code}]",
    "code": CODE,
}
CDR_PATTERNS = {
    "text": "[After|During|Despite] {one} , {two} [was|were] [noted|recorded|seen] in [rats|patients|infants] , "
            "[and|but] {one} [altered|preceded|induced] {two} .",
    "one": "[<CHEM {chem}>|<CHEM {chem} sodium>|repeated <CHEM {chem}>"
           "|{other}|repeated {other}|{other} [sessions|periods]]",
    "two": "[<DISEASE {disease}>|<DISEASE acute {disease}>|<DISEASE {disease} syndrome>"
           "|{outcome}|acute {outcome}|{outcome} [changes|scores]]",
}
PICO_PATTERNS = {
    "text": "[{background} {trial}|{trial}|{trial} {background}]",
    "trial": "[We|The authors] [randomised|assigned] {par} to {int} [or|versus] {int} and [compared|assessed] {out} .",
    "background": "[{drug} [is|was] [sometimes|once] given for {condition}|{measure} [is|was] often poor in {condition}"
                  "|[women|men|children] with {condition} [rarely|often] take {drug}] .",
    "par": "<PAR [40|60|120|200] [women|men|children|adults] with [mild|severe|] {condition}>",
    "int": "[<INT {drug}>|<INT oral {drug}>|<INT placebo>]",
    "out": "[<OUT {measure}>|<OUT mean {measure} score>|<OUT relief of {condition}>]",
}

# -- clauses and sentences of the other tasks ------------------------------------------------------

TOGETHER = ("{a} [given|taken|combined] with [|oral|daily] {b} was [|often|mostly|clearly] {cue}",
            "{a} [given|taken|combined] with [|oral|daily] {b} was [never|not] {cue}")
VARIANTS = ("{a} [variants|alleles] were [|often|mostly|clearly] {cue} [with|in] [early|late|familial] {b}",
            "{a} [variants|alleles] were [never|not] {cue} [with|in] [early|late|familial] {b}")
NEWS = ("{x} , [while|but|and] {y} [|, the company said] .",
        "[this quarter|now|in the current quarter] {name} 's {measure} {cue} [by [2|5|8] %|sharply|slightly|]",
        "[a year earlier|last year|in the previous quarter] {name} 's {measure} {cue} [by [2|5|8] %|sharply|slightly|]")
MICROBLOG = ("{x} , {y} [|imho|lol|!]",
             "{name} {measure} {cue} [a bit|big|fast] [today|now]",
             "{name} {measure} {cue} [a bit|big|fast] [last week|last year]")
