from sim.runner import run_bench


def test_segment_queue(simulator, tmp_path):
    run_bench("segment_queue", simulator, tmp_path)
