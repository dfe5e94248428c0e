"""The compiled backtest: layers 4 and 5, fills, funding, margin and the books over arrays, many parameter sets at once.

Here: what the engine reads (``inputs``, ``parameters``), its loop (``loop``) and how that is compiled (``compiled``), what
comes out (``results``), and what is asked of it (``montecarlo``, ``attribution``). Not here: the rules. Those are the
functions that the live step and the row-by-row backtest run (``decision.rules``, ``risk``, ``execution``,
``engine.money``): the loop compiles them from that one source.
"""
