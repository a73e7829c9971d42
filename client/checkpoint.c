/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

static char *
disks_cell (gconstpointer item)
{
  const BkCheckpointInfo *checkpoint = item;
  g_autoptr (GString) names = g_string_new (NULL);
  for (unsigned i = 0; checkpoint->disks && i < checkpoint->disks->len; i++)
    g_string_append_printf (names, "%s%s", i ? "," : "", ((const BkCheckpointDisk *)checkpoint->disks->pdata[i])->name);
  return g_string_free (g_steal_pointer (&names), FALSE);
}

static const BkColumn list_columns[] = {
  { "ID", BK_CELL_TEXT, "id" },
  { "NAME", BK_CELL_TEXT, "name" },
  { "VM", BK_CELL_TEXT, "vm" },
  { "DISKS", BK_CELL_TEXT, NULL, disks_cell },
  { "BACKUP", BK_CELL_TEXT, "backup_id" },
  { "CREATED", BK_CELL_TEXT, "created_at" },
  { NULL },
};

static gboolean
create (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autoptr (json_object) body = bk_args_body (args);
  g_autoptr (BkCheckpointInfo) checkpoint =
      bk_connection_read (connection, "POST", "/v1/checkpoints", body, &bk_checkpoint_info_struct, &json, error);
  if (checkpoint == NULL)
    return FALSE;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else
    bk_output_line (output, "%s", checkpoint->id);
  return TRUE;
}

static gboolean
list (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autofree char *path = bk_args_query (args, "/v1/checkpoints");
  g_autoptr (json_object) json = bk_connection_list (connection, path, 0, error);
  return json && bk_output_list (output, &bk_checkpoint_info_struct, json, list_columns, error);
}

static gboolean
delete_checkpoint (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  static const BkCommandDelete delete = { "/v1/checkpoints", "CHECKPOINT", "deleted checkpoint", "" };
  return bk_command_delete (args, connection, output, &delete, error);
}

static const BkOption create_options[] = {
  { "vm", BK_OPTION_TEXT, "NAME", NULL, "vm", true, "the VM" },
  { "disks", BK_OPTION_LIST, "DISK,...", NULL, "disks", false, "some of its disks; otherwise all that are writable" },
  { "name", BK_OPTION_TEXT, "NAME", NULL, "name", false, "a name for it" },
  { NULL },
};

static const BkOption list_options[] = {
  { "vm", BK_OPTION_TEXT, "NAME", NULL, "vm", false, "only checkpoints of this VM" },
  { NULL },
};

static const BkOperand checkpoint_operand[] = { { "CHECKPOINT", BK_OPTION_TEXT, NULL }, { NULL } };

const BkCommand bk_checkpoint_commands[] = {
  { "checkpoint create", "mark a point in time from which changes are tracked; prints its ID", create_options, NULL, create },
  { "checkpoint list", "list checkpoints", list_options, NULL, list },
  { "checkpoint delete", "delete a checkpoint", NULL, checkpoint_operand, delete_checkpoint },
  { NULL },
};
