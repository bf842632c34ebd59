from sim.runner import run_bench


def test_scan(simulator, tmp_path):
    run_bench("scan", simulator, tmp_path)
