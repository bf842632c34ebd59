from sim.runner import run_bench


def test_vector_queue(simulator, tmp_path):
    run_bench("vector_queue", simulator, tmp_path)
