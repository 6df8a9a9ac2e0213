#!/usr/bin/env python3
"""Runs tasks of EleutherAI's lm-evaluation-harness on `galapagos eval --score` and `galapagos generate`.

Where Python and the program run side by side; what follows -- goes to lm_eval:

  tools/lm_eval_galapagos.py --model DIR --launcher "mpirun -n 4" -- --tasks arc_easy,piqa

In two steps, for compute nodes that have no Python or cannot reach the Internet:

  tools/lm_eval_galapagos.py --model DIR --write requests.jsonl -- --tasks arc_easy,piqa
  srun galapagos eval --model DIR --score requests.jsonl --scores scores.jsonl       (in a job)
  tools/lm_eval_galapagos.py --model DIR --requests requests.jsonl --read scores.jsonl \\
    -- --tasks arc_easy,piqa

Tasks that generate text need --write-prompts besides, and of `galapagos generate` what --write prints:

  tools/lm_eval_galapagos.py --model DIR --write-prompts prompts.jsonl -- --tasks gsm8k
  srun galapagos generate --model DIR --prompts prompts.jsonl --output texts.jsonl    (in a job)
  tools/lm_eval_galapagos.py --model DIR --prompts prompts.jsonl --texts texts.jsonl \\
    -- --tasks gsm8k

Both steps need the same options of lm_eval, as it makes the requests anew. Text is encoded, cut and decoded
as lm_eval's own model `hf` does it; of what tasks ask of a generation `until`, `max_gen_toks`, `do_sample`,
`temperature`, `top_p` and `top_k` are followed, and any other is refused. Needs lm_eval (tested
with 0.4.13) and transformers, but neither torch nor a GPU.

From Python: import this file, then lm_eval.simple_evaluate(model="galapagos", model_args={...})
with the arguments of GalapagosLM.
"""

import argparse
import collections
import json
import math
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import lm_eval
    import lm_eval.evaluator
    from lm_eval import utils
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.models.utils import (handle_stop_sequences, normalize_gen_kwargs,
                                      postprocess_generated_text)
    from transformers import AutoTokenizer
except ImportError as error:
    print(f"lm_eval_galapagos: {error}; pip install lm_eval transformers", file=sys.stderr)
    sys.exit(4)


class AdapterError(RuntimeError):
    """Something that the user has to change; its text is the one line to show."""


def context_of(model, tokenizer):
    """Longest input of the model, found where lm_eval's `hf` finds it."""
    try:
        config = json.loads((Path(model) / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise AdapterError(f"{error.filename}: {error.strerror}") from None
    except ValueError:
        raise AdapterError(f"{Path(model) / 'config.json'}: not JSON") from None
    config = config.get("text_config") or config
    for name in ("n_positions", "max_position_embeddings", "n_ctx"):
        if config.get(name) is not None:
            return int(config[name])
    length = getattr(tokenizer, "model_max_length", None)
    return int(length) if length is not None and length < 1e29 else 2048


def write_requests(path, requests, mode="w"):
    with open(path, mode, encoding="utf-8") as file:
        for context, continuation in requests:
            file.write(json.dumps({"context": list(context), "continuation": list(continuation)}))
            file.write("\n")


def read_lines(path):
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    yield number, json.loads(line)
                except ValueError:
                    raise AdapterError(f"{path}, line {number}: not JSON") from None
    except OSError as error:
        raise AdapterError(f"{path}: {error.strerror}") from None


def read_requests(path):
    result = []
    for number, line in read_lines(path):
        try:
            result.append((tuple(line["context"]), tuple(line["continuation"])))
        except (KeyError, TypeError):
            raise AdapterError(f"{path}, line {number}: not a request") from None
    return result


def write_prompts(path, prompts, mode="w"):
    with open(path, mode, encoding="utf-8") as file:
        for ids, until, most in prompts:
            record = {"ids": list(ids), "max_new_tokens": most}
            if until:
                record["stop"] = list(until)
            file.write(json.dumps(record) + "\n")


def read_prompts(path):
    result = []
    for number, line in read_lines(path):
        try:
            result.append((tuple(line["ids"]), tuple(line.get("stop", ())), line["max_new_tokens"]))
        except (KeyError, TypeError, AttributeError):
            raise AdapterError(f"{path}, line {number}: not a prompt") from None
    return result


def read_texts(path, count):
    """The ids that were written behind `count` prompts."""
    result = []
    for number, line in read_lines(path):
        try:
            result.append([int(one) for one in line["ids"]])
        except (KeyError, TypeError, ValueError):
            raise AdapterError(f"{path}, line {number}: not a text") from None
    if len(result) != count:
        raise AdapterError(f"{path} has {len(result)} texts for {count} prompts")
    return result


def generation_of(wanted, max_gen_toks, eos):
    """What a request asks of its generation, as `hf` reads it: words, most tokens, options of the program."""
    wanted = normalize_gen_kwargs(wanted, max_gen_toks)
    until = handle_stop_sequences(wanted.pop("until", None), eos=eos)
    most = wanted.pop("max_gen_toks")
    temperature = wanted.pop("temperature", 0.0)
    options = []
    if wanted.pop("do_sample", False) and temperature > 0:
        options += ["--temperature", str(temperature)]
        for name, option in (("top_p", "--top-p"), ("top_k", "--top-k")):
            if wanted.get(name) is not None:
                options += [option, str(wanted[name])]
    wanted = set(wanted) - {"top_p", "top_k"}
    if wanted:
        raise AdapterError(f"a task asks for what is not followed: {', '.join(sorted(wanted))}")
    return tuple(word for word in until if word), int(most), tuple(options)


def read_scores(path, count):
    """(log-probability, greedy) of `count` requests."""
    result = []
    for number, line in read_lines(path):
        try:
            score = float(line["logprob"]), line["greedy"]
        except (KeyError, TypeError, ValueError):
            raise AdapterError(f"{path}, line {number}: not a score") from None
        if not math.isfinite(score[0]) or not isinstance(score[1], bool):
            raise AdapterError(f"{path}, line {number}: not a score")
        result.append(score)
    if len(result) != count:
        raise AdapterError(f"{path} has {len(result)} scores for {count} requests")
    return result


@register_model("galapagos")
class GalapagosLM(TemplateLM):
    """Scores with `galapagos eval --score`, and writes with `galapagos generate`.

    model: folder of the model
    tokenizer: folder of the tokenizer, if not the model's
    launcher, program, options: LAUNCHER PROGRAM eval --model ... OPTIONS is what is run
    max_length, add_bos_token, prefix_token_id, trust_remote_code: as of lm_eval's `hf`
    folder: where the files for the program go for a while; all of its ranks must see it
    write: only write the requests to this file
    requests, read: take the scores of these requests from a file
    write_prompts: only write what is to be generated behind to this file
    prompts, texts: take the texts behind these prompts from a file
    max_gen_toks: of a text where the task does not say
    """

    defaults = {}  # of the constructor; an argument of lm_eval cannot hold commas

    def __init__(self, batch_size=None, max_batch_size=None, device=None, **arguments):
        super().__init__()
        # lm_eval passes the first three to every model; here they are options of the program.
        given = {**self.defaults, **arguments}
        self._model = given.pop("model", None)
        if self._model is None:
            raise AdapterError("no model was given")
        self._model = str(self._model)
        tokenizer = str(given.pop("tokenizer", None) or self._model)
        if tokenizer == self._model and not Path(tokenizer).is_dir():
            raise AdapterError(f"{tokenizer} is not a folder")
        self._launcher = str(given.pop("launcher", None) or "")
        self._program = str(given.pop("program", None) or "galapagos")
        self._options = str(given.pop("options", None) or "")
        self._folder = given.pop("folder", None) or "."
        self._add_bos = given.pop("add_bos_token", None)
        self._prefix = given.pop("prefix_token_id", None)
        self._write = given.pop("write", None)
        requests, read = given.pop("requests", None), given.pop("read", None)
        self._write_prompts = given.pop("write_prompts", None)
        prompts, texts = given.pop("prompts", None), given.pop("texts", None)
        self._max_gen_toks = int(given.pop("max_gen_toks", None) or 256)
        length = given.pop("max_length", None)
        settings = {"trust_remote_code": bool(given.pop("trust_remote_code", False))}
        if self._add_bos is not None:
            settings["add_bos_token"] = self._add_bos
        if given:
            raise AdapterError(f"unknown argument of the model: {', '.join(given)}")
        if (requests is None) != (read is None):
            raise AdapterError("--read needs --requests, the file that --write wrote")
        if (prompts is None) != (texts is None):
            raise AdapterError("--texts needs --prompts, the file that --write-prompts wrote")
        self._writes = self._write is not None or self._write_prompts is not None
        if self._writes and (read is not None or texts is not None):
            raise AdapterError("--write and --read are two steps; give one of them")

        try:
            self.tokenizer = AutoTokenizer.from_pretrained(tokenizer, **settings)
        except (OSError, ValueError, KeyError, TypeError) as error:
            first = str(error).strip().split("\n")[0]
            raise AdapterError(f"cannot load the tokenizer of {tokenizer}: {first}") from None
        self._max_length = int(length) if length else context_of(self._model, self.tokenizer)
        self._scores = {}
        if read is not None:
            asked = read_requests(requests)
            self._scores = dict(zip(asked, read_scores(read, len(asked))))
        self._texts = {}
        if texts is not None:
            asked = read_prompts(prompts)
            turns = collections.Counter()
            for prompt, text in zip(asked, read_texts(texts, len(asked))):
                self._texts[(*prompt, None, turns[prompt])] = text
                turns[prompt] += 1
        self._from_file = read is not None or texts is not None
        self._sampling = None  # of the file of prompts
        if self._write is not None:
            write_requests(self._write, [])
        if self._write_prompts is not None:
            write_prompts(self._write_prompts, [])

    # --- what the harness asks of a model ---------------------------------------------------------

    @property
    def eot_token_id(self):
        return self.tokenizer.eos_token_id

    @property
    def prefix_token_id(self):
        if self._prefix is not None:
            return self._prefix
        if self.tokenizer.bos_token_id is not None:
            return self.tokenizer.bos_token_id
        return self.tokenizer.eos_token_id

    @property
    def max_length(self):
        return self._max_length

    @property
    def tokenizer_name(self):
        return self.tokenizer.name_or_path.replace("/", "__")

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        return self.tokenizer.apply_chat_template(
            chat_history, tokenize=False, add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt)

    def tok_encode(self, string, add_special_tokens=None, **_):
        if add_special_tokens is None:
            add_special_tokens = self._add_bos
            # A chat template may have put the BOS token there already.
            if string.startswith(self.tokenizer.decode(self.prefix_token_id)):
                add_special_tokens = False
        how = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return self.tokenizer.encode(string, **how)

    def _loglikelihood_tokens(self, requests, disable_tqdm=False, **_):
        cut = []
        for _, context, continuation in requests:
            if not context or not continuation or len(continuation) > self.max_length:
                raise AdapterError(
                    f"a request of {len(context)} tokens and {len(continuation)} to be scored "
                    f"cannot be put to a model that takes {self.max_length}")
            # The last token is only predicted, so the model reads one less than it is given.
            whole = (context + continuation)[-(self.max_length + 1):]
            cut.append((tuple(whole[:-len(continuation)]), tuple(continuation)))
        answers = self._score(cut)
        for (words, _, _), answer in zip(requests, answers):
            if words is not None and not self._writes:
                self.cache_hook.add_partial("loglikelihood", words, answer)
        return answers

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        windows, counts = [], []
        for (string,) in (request.args for request in requests):
            rolling = utils.get_rolling_token_windows(
                token_list=self.tok_encode(string), prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length, context_len=1)
            some = [(None, *utils.make_disjoint_window(window)) for window in rolling]
            windows += some
            counts.append(len(some))
        answers = iter(self._loglikelihood_tokens(windows))
        totals = [sum(next(answers)[0] for _ in range(count)) for count in counts]
        for request, total in zip(requests, totals):
            if not self._writes:
                self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def generate_until(self, requests, disable_tqdm=False):
        prompts = []  # with the options that they need
        eos = self.tokenizer.decode(self.eot_token_id)
        for context, wanted in (request.args for request in requests):
            until, most, options = generation_of(wanted, self._max_gen_toks, eos)
            if most >= self.max_length:
                raise AdapterError(f"{most} tokens cannot be written by a model that takes {self.max_length}")
            ids = self.tok_encode(context)[-(self.max_length - most):]
            prompts.append((tuple(ids), until, most, options))
        keys = self._keys_of(prompts)
        self._generate(keys)
        answers = []
        for request, key in zip(requests, keys):
            answer = self.tokenizer.decode(self._texts[key], skip_special_tokens=True)
            answers.append(postprocess_generated_text(answer, list(key[1]), None))
            if not self._writes:
                self.cache_hook.add_partial("generate_until", request.args, answer)
        return answers

    def get_model_info(self):
        return {"model_path": self._model, "max_length": self.max_length}

    # --- the program ------------------------------------------------------------------------------

    def _score(self, requests):
        """Answers in the order of the requests; each different one is scored once."""
        new = [request for request in dict.fromkeys(requests) if request not in self._scores]
        if new and self._from_file:
            raise AdapterError(
                f"{len(new)} of {len(requests)} requests have no score; give lm_eval the same "
                "options, tokenizer and data as with --write")
        if new and self._writes:
            if self._write is None:
                raise AdapterError("some tasks score text; give --write, too")
            write_requests(self._write, new, "a")
            self._scores.update(dict.fromkeys(new, (-1.0, False)))  # never shown
        elif new:
            self._score_with_program(new)
        return [self._scores[request] for request in requests]

    def _keys_of(self, prompts):
        """Where the texts behind prompts are: (ids, until, most, options, turn). What is drawn is drawn anew for each
        prompt, also for one that was there before (a task's repeats); the likeliest text is the same each time."""
        turns, keys = collections.Counter(), []
        for ids, until, most, options in prompts:
            key = (ids, until, most, None if self._from_file else options)
            keys.append((*key, turns[key] if options else 0))
            turns[key] += 1
        return keys

    def _generate(self, keys):
        """Fills the table of texts; each different one is written once."""
        new = {}
        for key in keys:
            if key not in self._texts:
                new.setdefault(key[3], {})[key] = None
        if new and self._from_file:
            raise AdapterError("some prompts have no text; give lm_eval the same options, tokenizer and "
                               "data as with --write-prompts")
        for options, some in new.items():
            if not self._writes:
                self._generate_with_program(list(some), options)
                continue
            if self._write_prompts is None:
                raise AdapterError("some tasks generate text; give --write-prompts, too")
            if self._sampling not in (None, options):
                raise AdapterError("tasks that sample otherwise than others need a run of their own")
            self._sampling = GalapagosLM.sampling = options
            write_prompts(self._write_prompts, [key[:3] for key in some], "a")
            self._texts.update(dict.fromkeys(some, []))  # never shown

    sampling = ()  # what `galapagos generate` is to be told, for whoever runs it by hand

    def _generate_with_program(self, keys, options):
        with tempfile.TemporaryDirectory(prefix="galapagos-texts-", dir=self._folder) as folder:
            asked = Path(folder).resolve() / "prompts.jsonl"
            answered = Path(folder).resolve() / "texts.jsonl"
            write_prompts(asked, [key[:3] for key in keys])
            self._run_program("generate", "--prompts", str(asked), "--output", str(answered), *options)
            self._texts.update(zip(keys, read_texts(answered, len(keys))))

    def _score_with_program(self, requests):
        with tempfile.TemporaryDirectory(prefix="galapagos-scores-", dir=self._folder) as folder:
            # Absolute, as a launcher may start the ranks in another folder.
            asked = Path(folder).resolve() / "requests.jsonl"
            answered = Path(folder).resolve() / "scores.jsonl"
            write_requests(asked, requests)
            self._run_program("eval", "--score", str(asked), "--scores", str(answered))
            self._scores.update(zip(requests, read_scores(answered, len(requests))))

    def _run_program(self, name, *words):
        command = [*shlex.split(self._launcher), self._program, name, "--model", self._model, *words,
                   *shlex.split(self._options)]
        print(shlex.join(command), file=sys.stderr)
        try:
            code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
        except OSError as error:
            raise AdapterError(f"cannot start {command[0]}: {error.strerror}") from None
        if code != 0:
            raise AdapterError(f"the program ended with code {code}")


# --- command line ---------------------------------------------------------------------------------


def parse(words):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="%(prog)s --model DIR [options] -- options of lm_eval")
    parser.add_argument("--model", required=True, help="folder of the model")
    parser.add_argument("--tokenizer", help="folder of the tokenizer, if not the model's")
    parser.add_argument("--launcher", help='what starts the program, as "srun" or "mpirun -n 4"')
    parser.add_argument("--program", help="galapagos, if not on PATH")
    parser.add_argument("--options", help='further ones, as --options="--precision bf16"')
    parser.add_argument("--folder", help="for files of the moment; all ranks must see it")
    parser.add_argument("--max-length", type=int, help="longest input, if not the model's")
    parser.add_argument("--add-bos", dest="add_bos_token", choices=("yes", "no"),
                        help="BOS token in front of a text, if not as the tokenizer has it")
    parser.add_argument("--prefix-token-id", type=int, help="what stands before an empty context")
    parser.add_argument("--trust-remote-code", action="store_true", help="of the tokenizer")
    parser.add_argument("--write", metavar="REQUESTS", help="only write the requests")
    parser.add_argument("--requests", help="what --write wrote; with --read")
    parser.add_argument("--read", metavar="SCORES", help="take the scores from this file")
    parser.add_argument("--write-prompts", metavar="PROMPTS", help="only write what is to be generated behind")
    parser.add_argument("--prompts", help="what --write-prompts wrote; with --texts")
    parser.add_argument("--texts", help="take the generated texts from this file")
    parser.add_argument("--max-gen-toks", type=int, help="tokens of a text where the task does not say")
    own, rest = words, []
    if "--" in words:
        at = words.index("--")
        own, rest = words[:at], words[at + 1:]
    arguments = parser.parse_args(own)
    if not rest:
        parser.error("no options of lm_eval; give them after --, as -- --tasks arc_easy")
    writes = arguments.write is not None or arguments.write_prompts is not None
    if writes and any(word.startswith("--use_cache") for word in rest):
        parser.error("--write would fill the cache of lm_eval with what are no scores")
    if arguments.add_bos_token is not None:
        arguments.add_bos_token = arguments.add_bos_token == "yes"
    return arguments, rest


def only_requests(evaluate):
    """lm_eval's evaluation without results: while writing there are no scores."""

    def evaluate_nothing(*arguments, **settings):
        evaluate(*arguments, **{**settings, "bootstrap_iters": 0, "log_samples": False})

    return evaluate_nothing


def main():
    arguments, rest = parse(sys.argv[1:])
    GalapagosLM.defaults = {name: value for name, value in vars(arguments).items()
                            if value is not None}
    if arguments.write is not None or arguments.write_prompts is not None:
        evaluate = only_requests(lm_eval.evaluator.simple_evaluate)
        lm_eval.evaluator.simple_evaluate = lm_eval.simple_evaluate = evaluate
    from lm_eval.__main__ import cli_evaluate

    sys.argv = ["lm_eval", "--model", "galapagos", *rest]
    if "--model_args" not in rest and not set(arguments.model) & set(",="):
        # Only for lm_eval's own records: it names the results after the model.
        sys.argv += ["--model_args", f"model={arguments.model}"]
    try:
        cli_evaluate()
    except AdapterError as error:
        print(f"lm_eval_galapagos: {error}", file=sys.stderr)
        sys.exit(3)
    model = shlex.quote(arguments.model)
    for file, command in ((arguments.write, f"eval --model {model} --score FILE --scores SCORES"),
                          (arguments.write_prompts, f"generate --model {model} --prompts FILE --output TEXTS "
                           + shlex.join(GalapagosLM.sampling))):
        if file is None:
            continue
        count = sum(1 for _ in open(file, encoding="utf-8"))
        print(f"{count} requests in {file}; next:\n  galapagos "
              + command.replace("FILE", shlex.quote(file)).strip(), file=sys.stderr)


if __name__ == "__main__":
    main()
