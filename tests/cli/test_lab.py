"""These tests check `minidl lab`."""

import json

from minidl import cli


def test_experiments_are_listed(capsys):
    assert cli.main(["lab", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("E18") and "gradient flow" in line for line in lines)


def test_a_run_writes_results_and_a_report(tmp_path, capsys):
    out = str(tmp_path / "lab")
    assert cli.main(["lab", "run", "E18", "--quick", "--seeds", "2", "--out", out]) == 0
    assert "E18  REFUTED (provisional): Each layer multiplies the norm" in capsys.readouterr().out
    assert json.loads((tmp_path / "lab" / "results.json").read_text())["E18"]["seeds"] == 2
    (tmp_path / "lab" / "report.html").unlink()
    assert cli.main(["lab", "report", "--out", out]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "lab" / "report.html")
    assert (tmp_path / "lab" / "report.html").exists()


def test_wrong_calls_are_refused(tmp_path, capsys):
    assert cli.main(["lab", "run", "E99"]) == 2
    assert "there is no experiment 'E99'" in capsys.readouterr().err
    assert cli.main(["lab", "report", "--out", str(tmp_path)]) == 1
    assert "no experiment has been run" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    for command in (["run", "E18", "--quick"], ["report"]):
        assert cli.main(["lab", *command, "--out", str(tmp_path / "file")]) == 2
        assert "file' is a file" in capsys.readouterr().err


def test_a_crash_is_exit_code_1(tmp_path, capsys):
    (tmp_path / "seeds" / "E18-0.json" / "x").mkdir(parents=True)
    code = cli.main(["lab", "run", "E18", "--quick", "--seeds", "2", "--out", str(tmp_path)])
    assert code == 1
    assert "crashed: E18" in capsys.readouterr().err


def test_the_report_of_what_has_been_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lab", "run", "E18", "--quick", "--seeds", "1"]) == 0
    capsys.readouterr()
    assert cli.main(["lab", "report"]) == 0
    assert capsys.readouterr().out.strip() == "runs/lab-quick/report.html"
