from sim.runner import run_bench


def test_fold(simulator, tmp_path):
    run_bench("fold", simulator, tmp_path)
