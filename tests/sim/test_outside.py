from sim.runner import run_bench


def test_outside(simulator, tmp_path):
    run_bench("outside", simulator, tmp_path)
