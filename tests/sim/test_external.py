from sim.runner import run_bench


def test_external(simulator, tmp_path):
    run_bench("external", simulator, tmp_path)
