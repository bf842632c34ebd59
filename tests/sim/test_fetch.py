from sim.runner import run_bench


def test_fetch(simulator, tmp_path):
    run_bench("fetch", simulator, tmp_path)
