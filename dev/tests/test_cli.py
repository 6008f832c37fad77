"""The command line teaches, and refuses by a sentence and an exit code."""

import pytest

from kontor_dev import cli
from kontor_kit.testing import rabbitmq


class TestCommandLine:
    @pytest.mark.parametrize("arguments", [[], ["dev"], ["dev", "fly"], ["dev", "up", "--replicas", "many"]])
    def test_wrong_arguments_exit_with_2(self, arguments, capsys):
        with pytest.raises(SystemExit) as refusal:
            cli.main(arguments)
        assert refusal.value.code == 2
        assert "usage: kontor" in capsys.readouterr().err

    def test_help_names_every_command(self, capsys):
        with pytest.raises(SystemExit):
            cli.main(["dev", "--help"])
        text = capsys.readouterr().out
        assert all(command in text for command in ("up", "status", "restart", "token", "psql", "url"))

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            (["--amqp-url", "amqp://127.0.0.1"], "is for --transport amqp"),
            (["--transport", "amqp", "--amqp-url", "http://127.0.0.1"], "must begin with amqp://"),
            (["--services", "contacts,no-such", "--no-demo"], "there is no service 'no-such'; there are identity, con"),
            (["--services", "contacts"], "add --no-demo"),
        ],
    )
    def test_what_is_no_use_is_refused(self, more, said, tmp_path, capsys):
        assert cli.main(["dev", "up", "--data", str(tmp_path / "data"), *more]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "data").exists()

    def test_without_an_installed_rabbitmq_it_says_what_helps(self, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr(rabbitmq, "_PACKAGED", tmp_path / "none")
        monkeypatch.setattr(rabbitmq, "_FOLDERS", ())
        monkeypatch.setenv("PATH", str(tmp_path))
        assert cli.main(["dev", "up", "--data", str(tmp_path / "data"), "--transport", "amqp"]) == 1
        said = capsys.readouterr().err
        assert "apt install rabbitmq-server" in said
        assert "--amqp-url" in said
        assert not (tmp_path / "data").exists()

    def test_events_of_a_service_say_so_when_nothing_runs(self, tmp_path, capsys):
        assert cli.main(["events", "--data", str(tmp_path), "contacts", "list", "--dead"]) == 1
        assert "Nothing runs on" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "command", [["status"], ["token"], ["restart", "contacts"], ["psql", "contacts"], ["url", "contacts"]]
    )
    def test_commands_say_so_when_nothing_runs(self, command, tmp_path, capsys):
        assert cli.main(["dev", *command, "--data", str(tmp_path)]) == 1
        out, err = capsys.readouterr()
        assert (out, err) == (
            "",
            f"kontor: Nothing runs on {tmp_path}. Start it with: kontor dev up --data {tmp_path}\n",
        )
