from sim.runner import run_bench


def test_memory(simulator, tmp_path):
    run_bench("memory", simulator, tmp_path)
