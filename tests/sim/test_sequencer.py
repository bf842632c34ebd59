from sim.runner import run_bench


def test_sequencer(simulator, tmp_path):
    run_bench("sequencer", simulator, tmp_path)
