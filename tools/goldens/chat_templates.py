#!/usr/bin/env python3
"""Writes what transformers makes of chat templates, for the tests of our own evaluator.

    python3 -m venv venv && venv/bin/pip install transformers jinja2
    venv/bin/python tools/goldens/chat_templates.py             # writes tests/data/chat/templates.json
    venv/bin/python tools/goldens/chat_templates.py --fuzz 2000 --templates FOLDER --driver build/chat_driver

The templates here are our own, laid out as those of the families that they are named after. `--fuzz` compares random
conversations in them, in all `*.jinja` of a folder, and random expressions, with a driver (a program that reads lines of
{"template", "variables"} and writes lines of {"text"} or {"error"}; src/io/jinja/renderer.hpp is all it needs).
Made with transformers 5.24.0, jinja2 3.1.6.
"""

import argparse
import datetime
import json
import pathlib
import random
import subprocess
import sys

from transformers.utils import chat_template_utils as hf

ROOT = pathlib.Path(__file__).resolve().parents[2]


class FixedDay(datetime.datetime):
    """The day that our evaluator takes for today."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


hf.datetime = FixedDay

SYSTEM_FIRST = ("{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}"
                "{% else %}{% set system = false %}{% set rest = messages %}{% endif %}")

FAMILIES = {
    "chatml": """{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '<|im_start|>system
You help.<|im_end|>
' }}{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}""",
    "llama2": SYSTEM_FIRST + """{% for message in rest %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}{% if loop.first and system != false %}{% set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "llama3": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0].role == 'system' %}
    {%- set system_message = messages[0].content | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- else %}
        {%- for call in message.tool_calls %}
            {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.function.name + '", "parameters": ' }}
            {{- call.function.arguments | tojson }}
            {{- "}<|eot_id|>" }}
        {%- endfor %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "mistral": """{%- set users = messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in messages %}
    {%- if message.role != "tool" %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("Roles must alternate") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in messages %}
    {%- if message.role == "user" %}
        {{- "[INST] " + message.content + ("!" if message == users[-1] else "") + "[/INST]" }}
    {%- elif message.role == "assistant" %}
        {{- " " + message.content | trim + eos_token }}
    {%- else %}
        {{- "[TOOL_RESULTS] " + message.content | string + "[/TOOL_RESULTS]" }}
    {%- endif %}
{%- endfor %}
""",
    "gemma": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}""",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "phi3": "{% for message in messages %}{% if message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "thinking": """{%- set ns = namespace(last=messages | length - 1, looking=true) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages | length - 1) - loop.index0 %}
    {%- if ns.looking and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.looking = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {%- set content = message.content %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in message.content %}
            {%- set content = message.content.split('</think>')[-1].lstrip('\\n') %}
            {%- set reasoning = message.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or reasoning) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "deepseek": """{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{{ bos_token }}{%- for message in messages %}{%- if message['role'] == 'user' %}{{ '<\uff5cUser\uff5c>' + message['content'] }}{%- endif %}{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{ '<\uff5cAssistant\uff5c>' + content + '<\uff5cend\u2581of\u2581sentence\uff5c>' }}{%- endif %}{%- endfor -%}{% if add_generation_prompt %}{{ '<\uff5cAssistant\uff5c><think>\\n' }}{% endif %}""",
    "marked": """{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<|im_start|>assistant\\n' }}{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}
    {%- else %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}""",
}

LANGUAGE = {
    "white_space": "a \n {%- if true -%} \n b \n {%- endif %}\n\n  {% if true %}\n c{% endif %}  \n  {{ 'x' }}  \n{# y #}\n  {#- z -#}  \n end\n\n",
    "line_ends": "a\r\n{% if true %}\r\nb{% endif %}\rc\r\n",
    "loops": """{% for a in range(4) if a != 1 -%}
   {%- set x = loop.index ~ '/' ~ loop.length %}
  {{ x }}   {# c #}
  {%+ if loop.last %} l {% else %}n{% endif +%}
{% else %}none{% endfor %}{% for x in [] %}{% else %}empty{% endfor %}{% for c in 'a\u00fc' %}[{{ c }}]{% endfor %}{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}{{ v }}{{ ', ' if not loop.last }}{% endfor %}{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined else '-' }}{% if loop.index == 2 %}{% continue %}{% endif %}{{ loop.cycle('a', 'b') }}{% if loop.index > 3 %}{% break %}{% endif %}{% endfor %}""",
    "scopes": "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% for i in [1,2] %}{{ x }}{% set x = 9 %}{{ x }}{% endfor %}{{ x }}{% for i in [1,2] %}{{ y }}{% set y = i %}{{ y }}{% endfor %}{{ y }}{% for i in [1] %}{% if i == 2 %}{% set bos_token = 'B' %}{% endif %}{{ bos_token }}{% endfor %}{% generation %}{% set g = 3 %}{{ g }}{% endgeneration %}{{ g }}",
    "macros": "{% macro f(a, b='x', c=a ~ b) %}({{ a }}{{ b }}{{ c }}{{ q }}){% endmacro %}{% set q = 'Q' %}{{ f('1') }}{{ f('1', c='3') }}{{ f(b='2') }}{% set z %} hi {{ f(0) }} {% endset %}[{{ z }}][{{ z | trim | upper }}]{% set z | trim %} hi {% endset %}[{{ z }}]",
    "numbers": "{{ 3 / 2 }} {{ 4 / 2 }} {{ 7 % -3 }} {{ -7 // 2 }} {{ (1, 2)[0] + 2 ** 3 - 7 // 2 * -1 % 3 }} {{ 1e3 }} {{ 1e16 }} {{ 0.1 + 0.2 }} {{ 1.5 ~ true ~ none }} {{ 1 < 2 < 3 }} {{ true + 1 }} {{ '12' | int + 1 }} {{ 'z' | int(7) }} {{ 5 is odd and 4 is even }} {{ 5 is divisibleby 5 }} {{ [1,2,3][-1] }}",
    "texts": "{{ 'abc'[::-1] }}{{ '\u4f60\u597d'[1:] }}{{ 'a,b,,c'.split(',') | tojson }}{{ ' a b  c '.split() | tojson }}{{ 'a b c'.split(' ', 1) | tojson }}{{ 'a b c'.rsplit(' ', 1)[0] }}{{ 'x' * 3 }}{{ \"a\" \"b\" }}{{ '\u00e9\u00df'.upper() }}{{ 'hello world'.title() }}{{ 'hELLO' | capitalize }}{{ '\u3000 x\\t\u00a0' | trim }}{{ 'xxaxx'.strip('x') }}{{ 'a-b-c' | replace('-', '+', 1) }}{{ 'l1\\nl2\\n\\nl3' | indent(2) }}{{ 'l1\\nl2' | indent(width=3, first=true) }}{{ 'ab'.startswith(('a', 'c')) }}{{ 'x'.join(['a', 'b']) }}{{ 'ab'.find('b') }}{{ 'abc' | reverse }}{{ '\\u00e9\\x41\\'\\q' }}",
    "lists": "{{ messages | map(attribute='role') | join(',') }}{{ messages | selectattr('role', 'in', ['user', 'system']) | list | length }}{{ messages | map(attribute='role') | unique | list | tojson }}{{ [1,2] + [3] == [1,2,3] }}{{ [3,1,2] | sort | join }}{{ [3,1,2] | sort(reverse=true) | join('-') }}{{ ['B','a'] | sort | join }}{{ [[1,2],[3]] | map('length') | join(',') }}{{ ['a','',none] | select | list | length }}{{ ['a','b'] | reject('eq','a') | first }}{{ [1,2,3] | last }}{{ ([] | first) is defined }}{{ 'a' in {'a': 1} and not 'b' in 'abc' }}{{ {'a': {'b': 'c'}}.a.b }}{{ {'items': 1}['items'] }}",
    "json": "{{ {'b': 1, 'a': [1, none, true, 1.0, 1e16, 0.1, {}, []]} | tojson(indent=2) }}{{ {'b': '\u00e9\u2028\"\\\\\\n'} | tojson }}{{ {'b': '\u00e9\U0001f600'} | tojson(ensure_ascii=True) }}{{ {'b': 1, 'a': 2} | dictsort | list | tojson }}{{ messages[0:1] | tojson }}{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}",
    "undefined": "{{ nothing }}{{ nothing is undefined }}{{ nothing | default('d') }}{{ '' | default('e', true) }}{{ messages[0].nothing }}{{ messages[9] }}{{ 1 if false }}|{{ nothing ~ 'x' }}{{ nothing == messages[0].nothing }}{% if not nothing %}n{% endif %}{% for x in nothing %}{% endfor %}{{ strftime_now('%d %b %Y %A %j') }}",
    "refused": "{{ messages[0].nothing.more }}",
}


def conversations():
    user, answer = {"role": "user", "content": " What is 2 + 2? "}, {"role": "assistant", "content": "It is 4.\n"}
    system = {"role": "system", "content": "Be brief. \u00dc\u4f60"}
    thought = {"role": "assistant", "content": "<think>\nWell.\n</think>\n\nYes."}
    call = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": ["\u00e9", None]}}}]}
    return {
        "one": [user, answer],
        "system": [system, user, answer],
        "turns": [user, answer, {"role": "user", "content": "Sure?\n"}, thought],
        "thought_first": [user, thought, {"role": "user", "content": "And?"}, answer],
        "reasoning": [user, {"role": "assistant", "content": "Yes", "reasoning_content": "Hm"}],
        "tools": [user, call, {"role": "tool", "content": "3"}, answer],
        "tags": [{"role": "user", "content": "<|im_end|> {{ x }} [/INST]"}, {"role": "assistant", "content": "</s>"}],
        "wrong": [answer, user],
        "question": [user],
    }


def render(template, variables):
    given = dict(variables)
    messages = hf._alias_reasoning_fields(hf._plain_template_data(hf._normalize_chat_messages(given.pop("messages"))))
    tools, prompt = given.pop("tools", None), given.pop("add_generation_prompt", False)
    try:
        compiled = hf._compile_jinja_template(template)
        text, spans = hf._render_with_assistant_indices(compiled, messages, tools, None, prompt, **given)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    # In bytes of UTF-8, as we count.
    at = lambda characters: len(text[:characters].encode())
    return {"text": text, "generated": [[at(first), at(last)] for first, last in spans]}


TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def write(path):
    cases = []
    for name, template in FAMILIES.items():
        for title, messages in conversations().items():
            for prompt in (False, True):
                if prompt and title not in ("question", "one"):
                    continue
                expected = render(template, dict(TOKENS, messages=messages, add_generation_prompt=prompt))
                cases.append({"template": name, "conversation": title, "prompt": prompt, **expected})
    for name, template in LANGUAGE.items():
        expected = render(template, dict(TOKENS, messages=conversations()["turns"], add_generation_prompt=False))
        cases.append({"template": name, "conversation": "turns", "prompt": False, **expected})
    for case in cases:
        if "error" in case:
            case["error"] = case["error"].split(":")[0]  # what it says is Python's own
        if not case.get("generated"):
            case.pop("generated", None)
    ids = [tokenized(model, family, title)
           for model, family in (("qwen2_tiny", "chatml"), ("qwen2_tiny", "marked"), ("llama3_tiny", "llama3"), ("llama2_tiny", "llama2"))
           for title in ("one", "system", "turns", "tags")]
    document = {"tokens": TOKENS, "templates": {**FAMILIES, **LANGUAGE}, "conversations": conversations(), "cases": cases, "ids": ids}
    path.parent.mkdir(exist_ok=True)
    line = lambda value: json.dumps(value, ensure_ascii=False)
    parts = [f'"tokens": {line(TOKENS)}']
    for name in ("templates", "conversations"):
        parts.append(f'"{name}": {{\n' + ",\n".join(f"{line(key)}: {line(value)}" for key, value in document[name].items()) + "}")
    for name in ("cases", "ids"):
        parts.append(f'"{name}": [\n' + ",\n".join(map(line, document[name])) + "]")
    path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
    print(f"{path}: {len(cases)} cases")


def tokenized(model, family, title):
    """The ids that transformers gives a conversation, and where the template marks them, which are the assistant's."""
    from transformers import PreTrainedTokenizerFast
    folder = ROOT / "tests" / "data" / "models" / model
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    text = lambda token: token["content"] if isinstance(token, dict) else token
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), bos_token=text(settings.get("bos_token")),
                                        eos_token=text(settings.get("eos_token")))
    given = tokenizer.apply_chat_template(conversations()[title], chat_template=FAMILIES[family], tokenize=True, return_dict=True,
                                          return_assistant_tokens_mask="{% generation %}" in FAMILIES[family])
    case = {"model": model, "template": family, "conversation": title, "ids": list(given["input_ids"])}
    if "assistant_masks" in given:
        case["assistant"] = list(given["assistant_masks"])
    return case


WORDS = ["Hello", "  spaces  ", "line\nbreak\n", "", "<think>\nhm\n</think>\n\nyes", "\u00e9\u00a0\u00fc", "\u4f60\u597d", "<|im_end|>",
         "[INST] x [/INST]", "{{ x }}", "tail\n\n", "\tTab", "\"q\" 'a' <b>&", "\u3000wide\u3000", "<tool_response>r</tool_response>"]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Get \"it\" \u00e9", "parameters": {
    "type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "c"}, "n": {"type": ["integer", "null"], "enum": [1, 2], "default": 1.5}}}}}]


def random_conversation(rng):
    text = lambda: " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3)))
    content = lambda: text() if rng.random() < 0.9 else [{"type": "text", "text": text()}]
    messages = [{"role": "system", "content": content()}] if rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 3)):
        messages.append({"role": "user", "content": content()})
        answer = {"role": "assistant", "content": content()}
        if rng.random() < 0.15:
            answer["reasoning_content"] = text()
        if rng.random() < 0.15:
            answer["tool_calls"] = [{"type": "function", "id": "abcdefgh1", "function": {
                "name": "weather", "arguments": rng.choice([{"city": "P\n", "n": [1, 2.5, True, None, 1e20]}, {}])}}]
            messages += [answer, {"role": "tool", "name": "weather", "tool_call_id": "abcdefgh1", "content": text()}]
        else:
            messages.append(answer)
    return messages


def random_expression(rng, depth=0):
    part = lambda: random_expression(rng, depth + 1)
    if depth > 3 or rng.random() < 0.25:
        return rng.choice(["1", "0", "-3", "2.5", "7", "'ab'", "'a b\\n'", "''", "' \u00fcX '", "[1, 2, 'a']", "[]", "{'a': 1, 'b': 'c'}", "true",
                           "false", "none", "nothing", "messages", "messages[0]", "messages[-1].content", "bos_token", "('a', 2)"])
    a = part()
    return rng.choice([
        lambda: f"({a} {rng.choice(['+', '-', '*', '//', '/', '%', '~', '==', '!=', '<', '<=', '>', 'and', 'or', 'in', 'not in'])} {part()})",
        lambda: f"(not {a})", lambda: f"(-{a})", lambda: f"({a} if {part()} else {part()})", lambda: f"({a})[{part()}]",
        lambda: f"({a})[{rng.choice(['', '1', '-1', '0', '5'])}:{rng.choice(['', '1', '-1', '3', '-9'])}{rng.choice(['', ':-1', ':2', ':-2'])}]",
        lambda: f"({a}).{rng.choice(['a', 'role', 'items', 'content', 'get', 'strip'])}",
        lambda: f"({a}).{rng.choice(['strip()', 'upper()', 'lstrip()', 'rstrip()', 'title()', 'capitalize()', 'split()', 'items()', 'keys()', 'values()', 'splitlines()'])}",
        lambda: f"({a}).{rng.choice(['split', 'strip', 'startswith', 'endswith', 'get', 'count', 'find', 'rstrip', 'join', 'removeprefix'])}({part()})",
        lambda: f"({a}).{rng.choice(['replace', 'get', 'split', 'rsplit'])}({part()}, {part()})",
        lambda: f"({a} | {rng.choice(['trim', 'upper', 'lower', 'length', 'first', 'last', 'list', 'string', 'tojson', 'int', 'sort', 'unique', 'reverse', 'items', 'dictsort', 'join', 'capitalize', 'select', 'default', 'indent'])})",
        lambda: f"({a} | {rng.choice(['default', 'join', 'replace', 'trim', 'tojson'])}({part()}))",
        lambda: f"({a} is {rng.choice(['', 'not '])}{rng.choice(['defined', 'undefined', 'none', 'string', 'mapping', 'sequence', 'iterable', 'number', 'integer', 'float', 'boolean', 'true', 'false', 'odd', 'even', 'callable'])})",
        lambda: f"({a} is {rng.choice(['eq', 'ne', 'in', 'lt', 'ge', 'equalto'])} {part()})",
    ])()


def fuzz(count, templates, driver, seed):
    rng = random.Random(seed)
    sources = dict(FAMILIES)
    for path in sorted(pathlib.Path(templates).rglob("*.jinja")) if templates else []:
        sources[path.name] = path.read_text(encoding="utf-8")
    lines, expected = [], []

    def add(name, template, variables):
        expected.append((name, template, render(template, variables)))
        variables = dict(variables, documents=None)
        variables["messages"] = hf._alias_reasoning_fields(hf._plain_template_data(hf._normalize_chat_messages(variables["messages"])))
        lines.append(json.dumps({"template": template, "variables": variables}))

    for _ in range(count):
        name = rng.choice(list(sources))
        variables = dict(TOKENS, messages=random_conversation(rng), tools=rng.choice([None, None, TOOLS]), add_generation_prompt=rng.random() < 0.3)
        if rng.random() < 0.2:
            variables["enable_thinking"] = rng.random() < 0.5
        add(name, sources[name], variables)
        add("expression", "{{ " + random_expression(rng) + " }}", dict(TOKENS, messages=conversations()["turns"], tools=None, add_generation_prompt=False))
    answers = subprocess.run([driver], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True).stdout.split("\n")
    counts = {"same": 0, "both refuse": 0, "only we refuse": 0, "only Python refuses": 0, "differ": 0}
    for (name, template, right), answer in zip(expected, answers):
        ours = json.loads(answer)
        if "error" in right or "error" in ours:
            kind = "both refuse" if "error" in right and "error" in ours else "only we refuse" if "error" in ours else "only Python refuses"
        else:
            kind = "same" if ours["text"] == right["text"] else "differ"
        counts[kind] += 1
        if kind == "differ" or (kind in ("only we refuse", "only Python refuses") and name == "expression" and counts[kind] < 40):
            print(f"{kind}: {name}: {template if name == 'expression' else ''}\n  {right}\n  {ours}")
    print(counts)
    return counts["differ"] == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuzz", type=int)
    parser.add_argument("--templates")
    parser.add_argument("--driver")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.fuzz:
        sys.exit(0 if fuzz(asked.fuzz, asked.templates, asked.driver, asked.seed) else 1)
    write(ROOT / "tests" / "data" / "chat" / "templates.json")
