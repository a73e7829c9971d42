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
marks_cell (gconstpointer item)
{
  const BkBackupInfo *backup = item;
  g_autoptr (GStrvBuilder) marks = g_strv_builder_new ();
  if (backup->copy_of)
    g_strv_builder_add (marks, "copy");
  if (backup->damaged)
    g_strv_builder_add (marks, "damaged");
  if (backup->pinned)
    g_strv_builder_add (marks, "pinned");
  if (backup->verified_at)
    g_strv_builder_add (marks, "verified");
  g_auto (GStrv) words = g_strv_builder_end (marks);
  return g_strjoinv (",", words);
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
  { "MARKS", BK_CELL_TEXT, NULL, marks_cell },
  { NULL },
};

static const BkColumn trash_columns[] = {
  { "ID", BK_CELL_TEXT, "id" },
  { "VM", BK_CELL_TEXT, "vm" },
  { "POINT IN TIME", BK_CELL_TEXT, "point_in_time" },
  { "DELETED", BK_CELL_TEXT, "deleted_at" },
  { "DISKS", BK_CELL_TEXT, NULL, disks_cell },
  { "SIZE", BK_CELL_SIZE, "size" },
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
  { "Quiesced", BK_CELL_TEXT, "quiesced" },
  { "Mode", BK_CELL_TEXT, "mode" },
  { "Copy of", BK_CELL_TEXT, "copy_of" },
  { "Repository", BK_CELL_TEXT, "repository" },
  { "Location", BK_CELL_TEXT, "location" },
  { "Size", BK_CELL_SIZE, "size" },
  { "Stored", BK_CELL_SIZE, "bytes_stored" },
  { "Marks", BK_CELL_TEXT, NULL, marks_cell },
  { "Verified", BK_CELL_TEXT, "verified_at" },
  { "Deleted", BK_CELL_TEXT, "deleted_at" },
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
  const BkColumn *columns = bk_args_has (args, "deleted") ? trash_columns : list_columns;
  return json && bk_output_list (output, &bk_backup_info_struct, json, columns, error);
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

static gboolean
do_verb (const BkArgs *args, BkConnection *connection, BkOutput *output, const char *verb, const char *done, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autofree char *path = bk_args_path (args, "/v1/backups", "BACKUP", verb);
  g_autoptr (BkBackupInfo) backup = bk_connection_read (connection, "POST", path, NULL, &bk_backup_info_struct, &json, error);
  if (backup == NULL)
    return FALSE;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else if (!bk_output_is_quiet (output))
    bk_output_line (output, "backup %s %s", backup->id, done);
  return TRUE;
}

static gboolean
pin (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  return do_verb (args, connection, output, "pin", "is pinned: it is not deleted before it is unpinned", error);
}

static gboolean
unpin (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  return do_verb (args, connection, output, "unpin", "is not pinned any more", error);
}

static gboolean
undelete (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  return do_verb (args, connection, output, "undelete", "is back from the trash", error);
}

static gboolean
copy (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) body = bk_args_body (args);
  json_object_object_add (body, "kind", json_object_new_string ("copy"));
  g_autoptr (json_object) json = bk_connection_call (connection, "POST", "/v1/jobs", body, error);
  return json && bk_follow_started (args, connection, output, json, error);
}

static const BkOption list_options[] = {
  { "vm", BK_OPTION_TEXT, "NAME", NULL, "vm", false, "only backups of this VM" },
  { "deleted", BK_OPTION_FLAG, NULL, NULL, "deleted", false, "those in the trash" },
  { NULL },
};

static const BkOption delete_options[] = {
  { "wait", BK_OPTION_FLAG, NULL, NULL, NULL, false, "follow the job and end with its result" },
  { NULL },
};

static const BkOption copy_options[] = {
  { "to", BK_OPTION_TEXT, "REPO", NULL, "to", true, "the repository that gets it" },
  { "speed", BK_OPTION_SIZE, "BYTES/S", NULL, "speed", false, "limit: 10M, 1.5G; 0 is none" },
  { "id", BK_OPTION_TEXT, "ID", NULL, "id", false, "your own ID for the job: 1-64 of A-Z a-z 0-9 . _ -" },
  { "wait", BK_OPTION_FLAG, NULL, NULL, NULL, false, "follow the job and end with its result" },
  { NULL },
};

static const BkOperand backup_operand[] = { { "BACKUP", BK_OPTION_TEXT, NULL }, { NULL } };
static const BkOperand copied_operand[] = { { "BACKUP", BK_OPTION_TEXT, "backup" }, { NULL } };

const BkCommand bk_backup_commands[] = {
  { "backup list", "list backups", list_options, NULL, list },
  { "backup show", "show a backup and its disks", NULL, backup_operand, show },
  { "backup delete", "delete a backup; prints the job's ID", delete_options, backup_operand, delete_backup },
  { "backup undelete", "get a backup back from the trash", NULL, backup_operand, undelete },
  { "backup pin", "keep a backup from being deleted", NULL, backup_operand, pin },
  { "backup unpin", "let a backup be deleted again", NULL, backup_operand, unpin },
  { "backup copy", "copy a backup to another repository; prints the job's ID", copy_options, copied_operand, copy },
  { NULL },
};
