/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

static const BkColumn list_columns[] = {
  { "ID", BK_CELL_WHOLE, "id" },
  { "BACKUP", BK_CELL_TEXT, "backup" },
  { "DISK", BK_CELL_TEXT, "disk" },
  { "SIZE", BK_CELL_SIZE, "size" },
  { "SINCE", BK_CELL_TEXT, "created_at" },
  { "URI", BK_CELL_WHOLE, "uri" },
  { NULL },
};

/* The address alone, so that it can stand in a command line: qemu-img info "$(backupctl serve ...)". */
static gboolean
serve (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autoptr (json_object) body = bk_args_body (args);
  g_autoptr (BkServeInfo) info = bk_connection_read (connection, "POST", "/v1/serves", body, &bk_serve_info_struct, &json, error);
  if (info == NULL)
    return FALSE;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else
    bk_output_line (output, "%s", info->uri);
  return TRUE;
}

static gboolean
list (const BkArgs *args G_GNUC_UNUSED, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = bk_connection_list (connection, "/v1/serves", 0, error);
  return json && bk_output_list (output, &bk_serve_info_struct, json, list_columns, error);
}

static gboolean
stop (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  static const BkCommandDelete delete = { "/v1/serves", "ID", "stopped serving", "" };
  return bk_command_delete (args, connection, output, &delete, error);
}

static const BkOption options[] = {
  { "disk", BK_OPTION_TEXT, "DISK", NULL, "disk", true, "one of its disks" },
  { "listen", BK_OPTION_TEXT, "ADDRESS", NULL, "listen", false, "unix (otherwise), or tcp:HOST:PORT; port 0 is any" },
  { NULL },
};

static const BkOperand backup_operand[] = { { "BACKUP", BK_OPTION_TEXT, "backup" }, { NULL } };
static const BkOperand id_operand[] = { { "ID", BK_OPTION_TEXT, NULL }, { NULL } };

const BkCommand bk_serve_commands[] = {
  { "serve", "offer a disk of a backup read-only over NBD; prints its URI", options, backup_operand, serve },
  { "serve list", "list what is served", NULL, NULL, list },
  { "serve stop", "stop serving", NULL, id_operand, stop },
  { NULL },
};
