from sim.runner import run_bench


def test_drain(simulator, tmp_path):
    run_bench("drain", simulator, tmp_path)
