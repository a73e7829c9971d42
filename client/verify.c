/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "follow.h"

static gboolean
verify (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) body = bk_args_body (args);
  json_object_object_add (body, "kind", json_object_new_string ("verify"));
  g_autoptr (json_object) json = bk_connection_call (connection, "POST", "/v1/jobs", body, error);
  return json && bk_follow_started (args, connection, output, json, error);
}

static const BkOption options[] = {
  { "speed", BK_OPTION_SIZE, "BYTES/S", NULL, "speed", false, "limit: 10M, 1.5G; 0 is none" },
  { "id", BK_OPTION_TEXT, "ID", NULL, "id", false, "your own ID for the job: 1-64 of A-Z a-z 0-9 . _ -" },
  { "wait", BK_OPTION_FLAG, NULL, NULL, NULL, false, "follow the job and end with its result" },
  { NULL },
};

static const BkOperand backup_operand[] = { { "BACKUP", BK_OPTION_TEXT, "backup" }, { NULL } };

const BkCommand bk_verify_commands[] = {
  { "verify", "read and check all that a backup consists of; prints the job's ID", options, backup_operand, verify },
  { NULL },
};
