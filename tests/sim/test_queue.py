from sim.runner import run_bench


def test_queue(simulator, tmp_path):
    run_bench("queue", simulator, tmp_path)
