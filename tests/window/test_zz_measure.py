import sys; sys.path.insert(0,'/work/main/tests/window')
import pytest, cProfile, pstats, os
os.environ["OMP_NUM_THREADS"]="1"
def test_m(session):
    from hydra_core.window import run_window, WindowConfig
    session.hold("BTCUSDT","0.5",session.prices["BTCUSDT"])
    c=[]
    clock=session.clock(300.)
    def oc(r): c.append((r.cycle_ms%300000==0, r.latency_ms, round(r.work_ms,1))); session.feed()
    pr=cProfile.Profile() if os.environ.get("PROF") else None
    if pr: pr.enable()
    s=run_window(WindowConfig("paper",{}, "r1", cycles=40), session.home, session.settings, clock, session.ledger, oc)
    if pr: pr.disable(); pstats.Stats(pr).sort_stats("cumtime").print_stats(35)
    print(s, s.to_json()); print(c)
    r=session.ledger.decision_records("paper",limit=1)[0]
    print(len(session.ledger.decisions("paper")), r.decision.mode, r.decision.input_faults, r.decision.trips, [ (p.outcome,p.reason) for p in r.decision.pairs][:3])
    from hydra_core.ledger import codec; print(len(codec.dumps(r.decision)), len(codec.dumps(r.inputs)))
