/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

static const BkColumn list_columns[] = {
  { "NAME", BK_CELL_TEXT, "name" },     { "TYPE", BK_CELL_TEXT, "type" },
  { "STATE", BK_CELL_STATE, "state" },  { "BACKUPS", BK_CELL_TEXT, "backups" },
  { "STORED", BK_CELL_SIZE, "bytes_stored" }, { "FREE", BK_CELL_SIZE, "bytes_free" },
  { "PATH", BK_CELL_TEXT, "path" },     { NULL },
};

static const BkColumn details[] = {
  { "Name", BK_CELL_TEXT, "name" },
  { "Type", BK_CELL_TEXT, "type" },
  { "Path", BK_CELL_TEXT, "path" },
  { "State", BK_CELL_STATE, "state" },
  { "Reason", BK_CELL_TEXT, "reason" },
  { "Backups", BK_CELL_TEXT, "backups" },
  { "Stored", BK_CELL_SIZE, "bytes_stored" },
  { "Free", BK_CELL_SIZE, "bytes_free" },
  { "Created", BK_CELL_TEXT, "created_at" },
  { NULL },
};

static gboolean
add (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autoptr (json_object) body = bk_args_body (args);
  g_autoptr (BkRepositoryInfo) repository =
      bk_connection_read (connection, "POST", "/v1/repositories", body, &bk_repository_info_struct, &json, error);
  if (repository == NULL)
    return FALSE;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else
    bk_output_line (output, "added repository %s at %s", repository->name, repository->path);
  return TRUE;
}

static gboolean
list (const BkArgs *args G_GNUC_UNUSED, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = bk_connection_list (connection, "/v1/repositories", 0, error);
  return json && bk_output_list (output, &bk_repository_info_struct, json, list_columns, error);
}

static gboolean
show (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autofree char *path = bk_args_path (args, "/v1/repositories", "NAME", NULL);
  g_autoptr (BkRepositoryInfo) repository =
      bk_connection_read (connection, "GET", path, NULL, &bk_repository_info_struct, &json, error);
  if (repository == NULL)
    return FALSE;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else
    bk_output_details (output, &bk_repository_info_struct, repository, details);
  return TRUE;
}

static gboolean
remove_repository (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  static const BkCommandDelete delete = { "/v1/repositories", "NAME", "removed repository", "; its files are kept" };
  return bk_command_delete (args, connection, output, &delete, error);
}

static const BkOption add_options[] = {
  { "path", BK_OPTION_PATH, "DIR", NULL, "path", true, "its folder" },
  { "type", BK_OPTION_WORD, NULL, bk_repo_types, "type", false, "how backups are stored" },
  { NULL },
};

static const BkOperand name_operand[] = { { "NAME", BK_OPTION_TEXT, "name" }, { NULL } };

const BkCommand bk_repo_commands[] = {
  { "repo add", "make a repository known, and its folder if it is missing", add_options, name_operand, add },
  { "repo list", "list repositories", NULL, NULL, list },
  { "repo show", "show a repository", NULL, name_operand, show },
  { "repo remove", "forget a repository; its files are kept", NULL, name_operand, remove_repository },
  { NULL },
};
