from sim.runner import run_bench


def test_transpose(simulator, tmp_path):
    run_bench("transpose", simulator, tmp_path)
