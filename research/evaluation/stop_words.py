"""English stop words: articles, pronouns, prepositions, conjunctions, auxiliaries."""

STOP_WORDS = frozenset(
    """
    a an the this that these those some any each every no none both either neither all another other such
    i me my mine myself you your yours yourself yourselves he him his himself she her hers herself it its
    itself we us our ours ourselves they them their theirs themselves who whom whose which what one ones
    about above across after against along among around as at before behind below beneath beside between
    beyond by despite down during except for from in inside into like near of off on onto out outside over
    past since than through throughout till to toward towards under until up upon with within without
    and but or nor so yet if unless because while whereas although though whether when whenever where why
    how am is are was were be been being have has had having do does did doing done will would shall should
    can could may might must ought need dare
    not only just also too very then there here now again once ever never even still already more most much
    many few less least own same
    s t d m re ve ll don didn doesn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn ain
    """.split()  # noqa: SIM905
)
