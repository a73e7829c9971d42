/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "interrupt.h"

#include <string.h>

/* An export is ready, and has ended, within a moment: it is asked for, rather than followed by events. */
#define FIRST_PAUSE (G_USEC_PER_SEC / 20)
#define MAX_PAUSE (G_USEC_PER_SEC)

static char *
disks_cell (gconstpointer item)
{
  const BkExportInfo *export = item;
  g_autoptr (GString) names = g_string_new (NULL);
  for (unsigned i = 0; export->disks && i < export->disks->len; i++)
    g_string_append_printf (names, "%s%s", i ? "," : "", ((const BkExportDisk *)export->disks->pdata[i])->name);
  return g_string_free (g_steal_pointer (&names), FALSE);
}

static char *
error_cell (gconstpointer item)
{
  const BkExportInfo *export = item;
  return export->error ? g_strdup_printf ("%s (%s)", export->error->message, export->error->code) : NULL;
}

static char *
disk_error_cell (gconstpointer item)
{
  const BkExportDisk *disk = item;
  return g_strdup (disk->error ? disk->error->message : disk->reason);
}

static char *
quiesce_cell (gconstpointer item)
{
  const BkExportInfo *export = item;
  return bk_output_quiesce (export->quiesce);
}

static const BkColumn list_columns[] = {
  { "ID", BK_CELL_TEXT, "id" },
  { "VM", BK_CELL_TEXT, "vm" },
  { "STATE", BK_CELL_STATE, "state" },
  { "DISKS", BK_CELL_TEXT, NULL, disks_cell },
  { "POINT IN TIME", BK_CELL_TEXT, "point_in_time" },
  { "EXPIRES", BK_CELL_TEXT, "expires_at" },
  { NULL },
};

static const BkColumn details[] = {
  { "Export", BK_CELL_TEXT, "id" },
  { "VM", BK_CELL_TEXT, "vm" },
  { "State", BK_CELL_STATE, "state" },
  { "Error", BK_CELL_TEXT, NULL, error_cell },
  { "Checkpoint", BK_CELL_TEXT, "checkpoint_id" },
  { "Created", BK_CELL_TEXT, "created_at" },
  { "Point in time", BK_CELL_TEXT, "point_in_time" },
  { "Quiesced", BK_CELL_TEXT, NULL, quiesce_cell },
  { "Expires", BK_CELL_TEXT, "expires_at" },
  { "Ended", BK_CELL_TEXT, "ended_at" },
  { NULL },
};

static const BkColumn disk_columns[] = {
  { "DISK", BK_CELL_WHOLE, "name" },
  { "LEVEL", BK_CELL_TEXT, "level" },
  { "SIZE", BK_CELL_SIZE, "size" },
  { "URI", BK_CELL_WHOLE, "uri" },
  { "DIRTY CONTEXT", BK_CELL_WHOLE, "dirty_context" },
  { "ERROR OR REASON", BK_CELL_TEXT, NULL, disk_error_cell },
  { NULL },
};

/* --- waiting --- */

typedef struct {
  BkConnection *connection;
  BkExportInfo *info;
  json_object *json; /* of .info */
} Export;

static void
export_clear (Export *export)
{
  bk_export_info_free (export->info);
  json_object_put (export->json);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Export, export_clear)

static gboolean
ask (Export *export, const char *method, const char *path, json_object *body, GError **error)
{
  json_object *json = NULL;
  BkExportInfo *info = bk_connection_read (export->connection, method, path, body, &bk_export_info_struct, &json, error);
  if (info == NULL)
    return FALSE;
  export_clear (export);
  export->info = info;
  export->json = json;
  return TRUE;
}

/* Until it is in none of @states. A daemon that is away for a while is waited for. */
static gboolean
wait_while (Export *export, const char *const *states, GError **error)
{
  g_autofree char *id = g_uri_escape_string (export->info->id, NULL, FALSE);
  g_autofree char *path = g_strconcat ("/v1/exports/", id, NULL);
  int64_t patience = 2 * (int64_t)bk_connection_timeout (export->connection) * G_USEC_PER_SEC;
  int64_t heard_at = g_get_monotonic_time ();
  gulong pause = FIRST_PAUSE;
  while (g_strv_contains (states, export->info->state)) {
    g_autoptr (GError) cause = NULL;
    g_usleep (pause);
    pause = MIN (2 * pause, MAX_PAUSE);
    if (ask (export, "GET", path, NULL, &cause)) {
      heard_at = g_get_monotonic_time ();
    } else if (!g_error_matches (cause, BK_ERROR, BK_ERROR_UNREACHABLE) || g_get_monotonic_time () - heard_at > patience) {
      g_propagate_error (error, g_steal_pointer (&cause));
      return FALSE;
    }
  }
  return TRUE;
}

static void
say_disk_errors (const BkExportInfo *info)
{
  for (unsigned i = 0; info->disks && i < info->disks->len; i++) {
    const BkExportDisk *disk = info->disks->pdata[i];
    if (disk->error)
      bk_output_message ("disk '%s': %s", disk->name, disk->error->message);
  }
}

/* Sets @error from that of the export. */
static gboolean
fail (const BkExportInfo *info, GError **error)
{
  const BkErrorEntry *entry = info->error ? bk_error_entry_by_name (info->error->code) : bk_error_entry (BK_ERROR_CANCELLED);
  say_disk_errors (info);
  g_set_error (error, BK_ERROR, (int)entry->code, "export %s has %s: %s", info->id, info->state,
               info->error ? info->error->message : entry->meaning);
  return FALSE;
}

/* --- commands --- */

/* The ID alone, as scripts want it; who looks at it wants the addresses too. */
static void
print_ready (BkOutput *output, const BkExportInfo *info)
{
  bk_output_line (output, "%s", info->id);
  if (bk_output_is_terminal (output) && !bk_output_is_quiet (output))
    bk_output_section (output, "Disks", &bk_export_disk_struct, info->disks, disk_columns);
  say_disk_errors (info);
}

static gboolean
begin (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  /* An export that somebody else ends meanwhile is seen off, too. */
  static const char *const before[] = { "beginning", "ending", NULL };
  g_auto (Export) export = { .connection = connection };
  g_autoptr (json_object) body = bk_args_body (args);
  if (!ask (&export, "POST", "/v1/exports", body, error))
    return FALSE;
  bk_interrupt_say ("export %.64s goes on; see 'backupctl export show %.64s'", export.info->id, export.info->id);
  if (!wait_while (&export, before, error))
    return FALSE;
  bool ready = strcmp (export.info->state, "ready") == 0;
  if (bk_output_is_json (output))
    bk_output_json (output, export.json);
  else if (ready)
    print_ready (output, export.info);
  return ready || fail (export.info, error);
}

static gboolean
list (const BkArgs *args G_GNUC_UNUSED, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = bk_connection_list (connection, "/v1/exports", 0, error);
  return json && bk_output_list (output, &bk_export_info_struct, json, list_columns, error);
}

static gboolean
show (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_auto (Export) export = { .connection = connection };
  g_autofree char *path = bk_args_path (args, "/v1/exports", "ID", NULL);
  if (!ask (&export, "GET", path, NULL, error))
    return FALSE;
  if (bk_output_is_json (output)) {
    bk_output_json (output, export.json);
    return TRUE;
  }
  bk_output_details (output, &bk_export_info_struct, export.info, details);
  bk_output_section (output, "Disks", &bk_export_disk_struct, export.info->disks, disk_columns);
  return TRUE;
}

static void
print_ended (BkOutput *output, const BkExportInfo *info, bool success)
{
  if (bk_output_is_quiet (output))
    return;
  if (!success)
    bk_output_line (output, "export %s has ended; its changes count as not backed up", info->id);
  else if (info->checkpoint_id)
    bk_output_line (output, "export %s has ended; the next one can be --since %s", info->id, info->checkpoint_id);
  else
    bk_output_line (output, "export %s has ended", info->id);
}

/* Ended with an error: some of its disks have failed. Asked to fail, it has failed as it should when nothing else went
 * wrong. */
static bool
has_ended_so (const BkExportInfo *info, bool success)
{
  if (strcmp (info->state, "ended") == 0)
    return info->error == NULL;
  return !success && strcmp (info->state, "failed") == 0 &&
         (info->error == NULL || g_strcmp0 (info->error->code, "cancelled") == 0);
}

static gboolean
end (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  static const char *const before[] = { "beginning", "ready", "ending", NULL };
  bool success = bk_args_has (args, "success");
  if (success == bk_args_has (args, "failed")) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'export end' needs either '--success' or '--failed'");
    return FALSE;
  }
  g_auto (Export) export = { .connection = connection };
  g_autofree char *path = bk_args_path (args, "/v1/exports", "ID", "end");
  g_autoptr (json_object) body = json_object_new_object ();
  json_object_object_add (body, "result", json_object_new_string (success ? "success" : "failed"));
  if (!ask (&export, "POST", path, body, error))
    return FALSE;
  bk_interrupt_say ("export %.64s is ending; see 'backupctl export show %.64s'", export.info->id, export.info->id);
  if (!wait_while (&export, before, error))
    return FALSE;
  bool ok = has_ended_so (export.info, success);
  if (bk_output_is_json (output))
    bk_output_json (output, export.json);
  else if (ok)
    print_ended (output, export.info, success);
  return ok || fail (export.info, error);
}

static const BkOption begin_options[] = {
  { "vm", BK_OPTION_TEXT, "NAME", NULL, "vm", true, "the VM" },
  { "disks", BK_OPTION_LIST, "DISK,...", NULL, "disks", false, "some of its disks; otherwise all that are writable" },
  { "since", BK_OPTION_TEXT, "CHECKPOINT", NULL, "since", false, "tell what changed since this checkpoint" },
  { "listen", BK_OPTION_TEXT, "ADDRESS", NULL, "listen", false, "unix (otherwise), or tcp:HOST:PORT; port 0 is any" },
  { "tls", BK_OPTION_PATH, "DIR", NULL, "tls", false, "ask readers for TLS, with the keys in DIR; tcp only" },
  { "timeout", BK_OPTION_TIME, "TIME", NULL, "timeout_seconds", false, "end it as failed after 90s, 15m, 2h; otherwise 1d" },
  { "quiesce", BK_OPTION_WORD, NULL, bk_quiesce, "quiesce", false, "freeze the guest's file systems by its agent" },
  { "quiesce-mounts", BK_OPTION_LIST, "PATH,...", NULL, "quiesce_mounts", false, "only these mount points of the guest; otherwise all" },
  { "hook", BK_OPTION_TEXT, "NAME", NULL, "hook", false, "run this program of the daemon's before and after the point in time" },
  { "hook-failure", BK_OPTION_WORD, NULL, bk_hook_failures, "hook_failure", false, "when it fails before: fail, or go on" },
  { "id", BK_OPTION_TEXT, "ID", NULL, "id", false, "your own ID for it: 1-64 of A-Z a-z 0-9 . _ -" },
  { NULL },
};

static const BkOption end_options[] = {
  { "success", BK_OPTION_FLAG, NULL, NULL, NULL, false, "what was read is safe: keep the checkpoint" },
  { "failed", BK_OPTION_FLAG, NULL, NULL, NULL, false, "it is not: the changes count as not backed up" },
  { NULL },
};

static const BkOperand id_operand[] = { { "ID", BK_OPTION_TEXT, NULL }, { NULL } };

const BkCommand bk_export_commands[] = {
  { "export begin", "offer a point in time of a VM over NBD to other programs; prints its ID", begin_options, NULL, begin },
  { "export list", "list exports that have not ended", NULL, NULL, list },
  { "export show", "show an export, its disks and their addresses", NULL, id_operand, show },
  { "export end", "end an export", end_options, id_operand, end },
  { NULL },
};
