from sim.runner import run_bench


def test_feed(simulator, tmp_path):
    run_bench("feed", simulator, tmp_path)
