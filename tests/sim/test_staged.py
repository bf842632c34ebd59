from sim.runner import run_bench


def test_staged(simulator, tmp_path):
    run_bench("staged", simulator, tmp_path)
