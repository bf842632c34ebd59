from sim.runner import run_bench


def test_counts(simulator, tmp_path):
    run_bench("counts", simulator, tmp_path)
