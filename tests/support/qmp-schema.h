/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Checks commands against the "return" of query-qmp-schema.
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>

/* What is wrong with {"execute"|"exec-oob", "arguments"}: an unknown command or member, a wrong type, a missing
 * mandatory member, something deprecated; NULL when nothing is. (transfer full) */
char *bk_qmp_schema_check (json_object *schema, json_object *command);

/* The recorded schema of QEMU 7.2, or fails the test. @data: the folder tests/data. (transfer full) */
json_object *bk_qmp_schema_load (const char *data);
