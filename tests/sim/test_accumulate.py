from sim.runner import run_bench


def test_accumulate(simulator, tmp_path):
    run_bench("accumulate", simulator, tmp_path)
