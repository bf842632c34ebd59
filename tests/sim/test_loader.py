from sim.runner import run_bench


def test_loader(simulator, tmp_path):
    run_bench("loader", simulator, tmp_path)
