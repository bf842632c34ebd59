from sim.runner import run_bench


def test_multiplier(simulator, tmp_path):
    run_bench("multiplier", simulator, tmp_path)
