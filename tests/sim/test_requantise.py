from sim.runner import run_bench


def test_requantise(simulator, tmp_path):
    run_bench("requantise", simulator, tmp_path)
