from sim.runner import run_bench


def test_maps(simulator, tmp_path):
    run_bench("maps", simulator, tmp_path)
