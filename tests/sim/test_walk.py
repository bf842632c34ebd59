from sim.runner import run_bench


def test_walk(simulator, tmp_path):
    run_bench("walk", simulator, tmp_path)
