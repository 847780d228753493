"""`gristmill factory`: one config that runs generators, blends what they make towards a mix, and trains on the blend.

    parts.py     the config made into the configs of its parts, all validated before the first one starts
    expected.py  what the runs will take: tasks, calls, tokens, cost and time, printed before they run
    mix.py       what each share should have of the blend, what it has, and why the rest is missing
    work.py      the parts one after another, each only where it isn't done

Each part is what its own command would do; its config is in OUT/configs, so that it can be done by hand.
Source: Nemotron 3 Super report (arXiv 2604.12374), section 3.1: the shares of the SFT blend, two stages, healing.
"""
