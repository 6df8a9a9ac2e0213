"""Text that tokenizers stumble over: the inputs of tests/data/tokenizers/hard_text.json. `bytes` are not valid
UTF-8 and are decoded with errors="replace"."""

SPECIALS = {
    "llama3": ["<|begin_of_text|>", "<|eot_id|>", "<|end_of_text|>", "<|start_header_id|>"],
    "qwen2": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool>", "<sep>", "ion", "cafe\u0301", "<both>", "\u2460"],
    "llama2": ["<s>", "</s>", "<unk>", "<0x41>"],
}

TEXTS = [
    "", " ", "  ", "   ", "\n", "\r\n", "\t", "a", " a", "a ", "  a", "a  b", "a   b ",
    "The small finch rests near the shore.",
    "Cactus cactus CACTUS cAcTuS.",
    # CJK, emoji, combining marks in both forms
    "海龟在火山口休息。雀鳥與仙人掌，共有12345隻！", "㐀𠀀𪚥龘", "カメは浜辺で眠っている。ﾊﾝｶｸ ｶﾅ", "全角　スペース　２０２６年",
    "👩🏽‍🔬👨‍👩‍👧‍👦👍🏿🇪🇨🏝️☃️❤️‍🔥", "a👍b 👍 c", "é e\u0301 E\u0301\u0323 a\u0328\u0301 \u1e69 s\u0323\u0307 s\u0307\u0323", "Ångström A\u030angstro\u0308m \u212b",
    "\u0301lead", "x\u0300\u0301\u0302\u0303\u0304\u0305", "ﬁ ﬂ ① Ⅷ ½ ² ㎏", "\u0958\u09dc\ufb1d\u2adc\U0001d15e",
    # Hangul: syllables, jamo to compose, old jamo
    "거북이 섬에서 기다린다.", "\u1100\u1161\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af", "\u1140\u1175\u11eb \uac00\u11a8", "ㄱㅏㄴ",
    # other scripts, right to left, no spaces
    "السلحفاة تنام في الجزيرة ١٢٣٤٥، أليس كذلك؟", "\u0627\u0644\u0633\u064e\u0651\u0644\u0627\u0645\u064f \u0640\u0640", "שָׁלוֹם עולם", "เต่านอนที่ชายหาด ๑๒๓๔", "कछुआ द्वीप पर सोता है। १२३",
    "தமிழ் ௧௨௩ မြန်မာ ខ្មែរ", "ΚΑΛΗΜΕΡΑ ς σ Σ", "ĳ Ĳ ŉ ǰ ẞ ß ŀ", "\U0001d400\U0001d7ce\U0001d7cf 𐐷 𞤀",
    # line ends and odd spaces
    "one\r\ntwo\r\n\r\nthree\rfour\n\n\n  five", "tab\tand\t\ttabs \t mixed", "trailing   ", "trailing\n   ", "   \n   \n  x", "x \n", "x  \n\n  y", "\u2028para\u2029graph\u000bvt\u000cff",
    "nel\u0085nbsp\u00a0mvs\u180eem\u2003ideo\u3000zwsp\u200bbom\ufeffend", "\u00a0\u00a0a", "a\u3000\u3000 b", "a \u2003b \u00a0 c", "\u2003\u2003\n\u2003x", "\u0085\u0085x \u0085", "\u180e \u180ea", "\u200b\u200b a\u2060b",
    "a" + " " * 40 + "b" + "\t" * 9 + "c" + "\n" * 12, " " * 100,
    # digits
    "1 12 123 1234 12345 123456 1234567890", "3.14159e-10 0xDEADBEEF 1,234,567.89 v1.2.3", "9" * 61, "٣٤٥٦ ௧௨௩௪ ⅧⅨ ①②③④⑤ ²³¹ 〇", "a1b22c333d4444",
    # contractions, and letters that fold to ASCII ones
    "I'm you're he's they'll we've I'd can't", "I'M YOU'RE HE'S THEY'LL WE'VE I'D CAN'T", "'S 'T 'Re 'vE 'lL 'd'D", "x'\u017f y'\u017fz 'L\u017f '\u212a 'l\u212a '\u017f\u017f", "don''t ''s '' 's's", "’s I’m rock’n’roll", "'sun 'told 'real", "_'s 1's .'s\n's",
    # code and punctuation
    "for (int i = 0; i < 4096; ++i) {\n  weights[i] += 0.5f;  // sum\n}\n", "def f(x):\n\treturn x**2 if x!=0 else None\n", "{\"a\": [1, 2.5, null], \"b\": \"\\u00e9\\n\"}", "https://example.org/layer?id=42&x=%20#top", "<html><body class='x'>&nbsp;</body></html>", "$E=mc^2$ \\frac{a}{b}", "!!!???...---___+++===///\\\\\\", "#!/bin/sh\r\necho \"$HOME\"\r\n", " !a .b\n,c\r\n;d", "snake_case camelCase SCREAMING_CASE kebab-case",
    # control characters
    "nul\x00in\x00side", "\x00", "\x01\x02\x1b[31mred\x1b[0m\x7f", "\x80\x9f\xad soft\u00adhyphen", "\ufffd\ufffe\uffff\U0010ffff", "\ue000 private \U000f0000", "\u202eoverride\u202c \u2066x\u2069",
    # what the tokenizers themselves write
    "Ġa Ċ ▁ ▁▁a a▁b ▁", " ▁ a ▁", "<0x41> <0xE2> <unk>", "Ġ", "▁▁ ▁",
    # specials, whole and in part
    "<|begin_of_text|>", "<|begin_of_text|>The finch<|eot_id|>", "a <|eot_id|> b", "a  <|eot_id|>  b\n", "<|eot_id|><|eot_id|>", "<|eot_id|", "<|eot_id |>", "<<|eot_id|>>", "|eot_id|>", "<|eot_id|><|eot_", "<|EOT_ID|>", "é<|eot_id|>é",
    "<|im_start|>user\nIt's warm.<|im_end|>\n<|im_start|>", "<|im_start", "<|endoftext|> <|endoftext|>", "x<|im_end|>x",
    "<s>", "<s>The finch</s>", "a <s> b</s> c", "<s><s>", "<s", "< s>", "<s>\n</s>", "<S>", "</s ><s> ",
    "a <tool> b", "a  \t<tool>  b", "<tool>", "  <tool><tool> <tool>", "a<sep> b", "a<sep>  \n\u3000b", "<sep> <tool> ", "<sep>  <sep>", "a <both> b", " <both> <both>  <both>",
    "ion", "nation ion ion.", "(ion) ion_ ionion ion-ion éion ion\u0301 ion1", "x\u200dion ion\u2040 ion",
    "caf\u00e9 cafe\u0301 xcaf\u00e9x cafe\u0301\u0323", "\u2460 \u2461\u2460",
    "repeat " * 60, "-" * 200, "=-" * 50,
]

REPEATED = [("abcdefghij", 1000), ("finch", 300), ("é", 500), ("龟", 400), (" x", 300), ("9", 999), ("\n", 300), (".", 333)]

BYTES = [
    b"\xff", b"abc\x80def", b"\xc3", b"\xc3(", b"\xe2\x96", b"\xe2\x96x", b"\xf0\x9f\x90", b"\xf0\x9f\x90 \xf0\x9f", b"\xed\xa0\x80\xed\xb0\x80",
    b"\xc0\xaf\xe0\x80\xaf\xf0\x80\x80\xaf", b"\xf4\x90\x80\x80\xf8\x88\x80\x80\x80", b"\xfe\xff\x00a", b"ok \xe6\xb5\xb7\xe9 end", b"\xf1\x80\x80\xe1\x80\xc2b", b"<|eot_id|\xff>", b"\xef\xbb\xbfbom",
]

ALPHABET = [
    "a", "b", "e", "i", "n", "o", "s", "t", "S", "T", "R", "E", "d", "l", "m", "v", "x", "'", "'", "\u2019", " ", " ", " ", "  ", "\n", "\r", "\r\n", "\t", "\u0085", "\u00a0", "\u180e", "\u2003",
    "\u3000", "\u200b", "\u200d", "\ufeff", "\u2028", "\u000b", "\x00", "\x7f", "\x1c", "1", "2", "9", "٣", "²", "Ⅷ", "①", ".", ",", "!", "?", "-", "_", "(", ")", "<", ">", "|", "/", "é", "e\u0301", "\u0301", "\u0323",
    "\u017f", "\u212a", "ß", "Å", "\u212b", "ς", "ж", "Ф", "中", "文", "龟", "カ", "ﾊ", "가", "\u1100", "\u1161", "\u11a8", "ا", "ل", "\u064e", "เ", "\u0e48", "क", "\u094d", "\u0958", "🐢", "👍", "🏿", "\ufe0f", "▁", "Ġ", "Ċ", "\ufffd",
    "\u0378", "\ue000", "\U000e0001", "\U0010ffff", "\U0001d15e", "\U00011131\U00011127", "\U0001e900", "𝟎", "the", " the", "finch", "ing", "tion", "  ", "'s", "'LL", "'re",
]
