from sim.runner import run_bench


def test_accelerator(simulator, tmp_path):
    run_bench("accelerator", simulator, tmp_path)
