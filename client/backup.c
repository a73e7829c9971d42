/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "follow.h"

static char *
disks_cell (gconstpointer item)
{
  const BkBackupInfo *backup = item;
  g_autoptr (GString) names = g_string_new (NULL);
  for (unsigned i = 0; i < backup->disks->len; i++)
    g_string_append_printf (names, "%s%s", i ? "," : "", ((const BkBackupDisk *)backup->disks->pdata[i])->name);
  return g_string_free (g_steal_pointer (&names), FALSE);
}

static char *
disk_error_cell (gconstpointer item)
{
  const BkBackupDisk *disk = item;
  return g_strdup (disk->error ? disk->error->message : NULL);
}

static const BkColumn list_columns[] = {
  { "ID", BK_CELL_TEXT, "id" },
  { "VM", BK_CELL_TEXT, "vm" },
  { "POINT IN TIME", BK_CELL_TEXT, "point_in_time" },
  { "STATE", BK_CELL_STATE, "state" },
  { "DISKS", BK_CELL_TEXT, NULL, disks_cell },
  { "SIZE", BK_CELL_SIZE, "size" },
  { "STORED", BK_CELL_SIZE, "bytes_stored" },
  { "REPOSITORY", BK_CELL_TEXT, "repository" },
  { NULL },
};

static const BkColumn details[] = {
  { "Backup", BK_CELL_TEXT, "id" },
  { "VM", BK_CELL_TEXT, "vm" },
  { "Point in time", BK_CELL_TEXT, "point_in_time" },
  { "Completed", BK_CELL_TEXT, "completed_at" },
  { "State", BK_CELL_STATE, "state" },
  { "Guest running", BK_CELL_TEXT, "guest_running" },
  { "Mode", BK_CELL_TEXT, "mode" },
  { "Repository", BK_CELL_TEXT, "repository" },
  { "Location", BK_CELL_TEXT, "location" },
  { "Size", BK_CELL_SIZE, "size" },
  { "Stored", BK_CELL_SIZE, "bytes_stored" },
  { "QEMU", BK_CELL_TEXT, "qemu_version" },
  { "Job", BK_CELL_TEXT, "job_id" },
  { NULL },
};

static const BkColumn disk_columns[] = {
  { "DISK", BK_CELL_TEXT, "name" },
  { "LEVEL", BK_CELL_TEXT, "level" },
  { "STATE", BK_CELL_STATE, "state" },
  { "SIZE", BK_CELL_SIZE, "size" },
  { "STORED", BK_CELL_SIZE, "bytes_stored" },
  { "STANDS ON", BK_CELL_TEXT, "parent" },
  { "FILE", BK_CELL_TEXT, "file" },
  { "ERROR", BK_CELL_TEXT, NULL, disk_error_cell },
  { NULL },
};

static gboolean
list (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autofree char *path = bk_args_query (args, "/v1/backups");
  g_autoptr (json_object) json = bk_connection_list (connection, path, 0, error);
  return json && bk_output_list (output, &bk_backup_info_struct, json, list_columns, error);
}

static gboolean
show (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autofree char *path = bk_args_path (args, "/v1/backups", "BACKUP", NULL);
  g_autoptr (BkBackupInfo) backup = bk_connection_read (connection, "GET", path, NULL, &bk_backup_info_struct, &json, error);
  if (backup == NULL)
    return FALSE;
  if (bk_output_is_json (output)) {
    bk_output_json (output, json);
    return TRUE;
  }
  bk_output_details (output, &bk_backup_info_struct, backup, details);
  bk_output_section (output, "Disks", &bk_backup_disk_struct, backup->disks, disk_columns);
  return TRUE;
}

static gboolean
delete_backup (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autofree char *path = bk_args_path (args, "/v1/backups", "BACKUP", NULL);
  g_autoptr (json_object) json = bk_connection_call (connection, "DELETE", path, NULL, error);
  return json && bk_follow_started (args, connection, output, json, error);
}

static const BkOption list_options[] = {
  { "vm", BK_OPTION_TEXT, "NAME", NULL, "vm", false, "only backups of this VM" },
  { NULL },
};

static const BkOption delete_options[] = {
  { "wait", BK_OPTION_FLAG, NULL, NULL, NULL, false, "follow the job and end with its result" },
  { NULL },
};

static const BkOperand backup_operand[] = { { "BACKUP", BK_OPTION_TEXT, NULL }, { NULL } };

const BkCommand bk_backup_commands[] = {
  { "backup list", "list backups", list_options, NULL, list },
  { "backup show", "show a backup and its disks", NULL, backup_operand, show },
  { "backup delete", "delete a backup; prints the job's ID", delete_options, backup_operand, delete_backup },
  { NULL },
};
