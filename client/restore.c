/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "follow.h"

static gboolean
restore (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) body = bk_args_body (args);
  json_object_object_add (body, "kind", json_object_new_string ("restore"));
  g_autoptr (json_object) json = bk_connection_call (connection, "POST", "/v1/jobs", body, error);
  return json && bk_follow_started (args, connection, output, json, error);
}

static const BkOption options[] = {
  { "disk", BK_OPTION_LIST, "DISK,...", NULL, "disks", false, "some of its disks; otherwise all; may be repeated" },
  { "output", BK_OPTION_TARGET, "PATH", NULL, "output", true,
    "one disk: a file, block device or NBD URI; several: a folder" },
  { "format", BK_OPTION_WORD, NULL, bk_formats, "format", false, "of the files; otherwise by their names" },
  { "force", BK_OPTION_FLAG, NULL, NULL, "force", false, "overwrite what exists" },
  { "define", BK_OPTION_TEXT, "NAME", NULL, "define", false, "make a domain of libvirt of it, under this name; PATH is a folder" },
  { "libvirt", BK_OPTION_TEXT, "URI", NULL, "libvirt", false, "where, with --define: qemu:///system" },
  { "keep-identity", BK_OPTION_FLAG, NULL, NULL, "keep_identity", false, "with the UUID and MAC addresses of the old one" },
  { "speed", BK_OPTION_SIZE, "BYTES/S", NULL, "speed", false, "limit: 10M, 1.5G; 0 is none" },
  { "id", BK_OPTION_TEXT, "ID", NULL, "id", false, "your own ID for the job: 1-64 of A-Z a-z 0-9 . _ -" },
  { "wait", BK_OPTION_FLAG, NULL, NULL, NULL, false, "follow the job and end with its result" },
  { NULL },
};

static const BkOperand backup_operand[] = { { "BACKUP", BK_OPTION_TEXT, "backup" }, { NULL } };

const BkCommand bk_restore_commands[] = {
  { "restore", "write the disks of a backup to files or devices; prints the job's ID", options, backup_operand, restore },
  { NULL },
};
