from sim.runner import run_bench


def test_winograd(simulator, tmp_path):
    run_bench("winograd", simulator, tmp_path)
