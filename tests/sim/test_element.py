from sim.runner import run_bench


def test_element(simulator, tmp_path):
    run_bench("element", simulator, tmp_path)
