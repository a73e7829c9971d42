#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""yaml-to-json.py IN.yaml OUT.json: the same document as compact JSON, members in the order of the source."""
import json
import sys

import yaml

with open(sys.argv[1], encoding='utf-8') as source:
    document = yaml.safe_load(source)
with open(sys.argv[2], 'w', encoding='utf-8') as target:
    json.dump(document, target, ensure_ascii=False, separators=(',', ':'))
    target.write('\n')
