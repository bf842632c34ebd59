from sim.runner import run_bench


def test_ram(simulator, tmp_path):
    run_bench("ram", simulator, tmp_path)
