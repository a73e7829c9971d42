/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "hook.h"

#include "hook-program.h"

#include <string.h>

gboolean
bk_hook_check (const BkBackupRequest *request, const char *folder, GError **error)
{
  if (request->hook == NULL)
    return TRUE;
  g_autofree char *path = bk_hook_find (folder, request->hook, error);
  return path != NULL;
}

static char *
names_of (const BkRun *run)
{
  g_autoptr (GString) names = g_string_new (NULL);
  for (unsigned i = 0; i < run->disks->len; i++)
    g_string_append_printf (names, "%s%s", i ? "," : "", ((const BkRunDisk *)run->disks->pdata[i])->name);
  return g_string_free (g_steal_pointer (&names), FALSE);
}

static void
add (GStrvBuilder *variables, const char *name, const char *value)
{
  g_autofree char *variable = g_strdup_printf ("BACKUPD_%s=%s", name, value);
  g_strv_builder_add (variables, variable);
}

static GStrv
variables_of (const BkBackup *backup, const char *job, const char *event, const char *result)
{
  g_autoptr (GStrvBuilder) variables = g_strv_builder_new ();
  g_autofree char *disks = names_of (backup->run);
  add (variables, "EVENT", event);
  add (variables, "VM", backup->request->vm);
  add (variables, "JOB", job);
  add (variables, "DISKS", disks);
  if (backup->makes_backup)
    add (variables, "BACKUP", backup->id);
  if (result)
    add (variables, "RESULT", result);
  return g_strv_builder_end (variables);
}

static const char *
last_line (const char *output)
{
  const char *newline = output ? strrchr (output, '\n') : NULL;
  return newline ? newline + 1 : output ? output : "";
}

/* Returns what there is to complain of, or NULL. (transfer none) */
static const char *
run_hook (BkBackup *backup, const char *job, const char *event, const char *result, GCancellable *cancellable)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = bk_hook_find (backup->hooks_dir, backup->request->hook, &error);
  g_auto (GStrv) variables = variables_of (backup, job, event, result);
  BkHookRun *run = path ? bk_hook_program_run (path, event, variables, backup->hook_seconds, cancellable) : g_new0 (BkHookRun, 1);
  if (path == NULL) {
    run->event = g_strdup (event);
    run->state = g_strdup ("failed");
    run->reason = g_strdup (error->message);
  }
  g_ptr_array_add (backup->hooks, run);
  if (run->reason)
    g_warning ("job %s: hook '%s' (%s): %s; its last words: '%s'", job, backup->request->hook, event, run->reason, last_line (run->output));
  else
    g_message ("job %s: hook '%s' (%s) is done", job, backup->request->hook, event);
  return run->reason;
}

gboolean
bk_hook_before (BkBackup *backup, const char *job, GCancellable *cancellable, GError **error)
{
  if (backup->request->hook == NULL)
    return TRUE;
  const char *complaint = run_hook (backup, job, "before", NULL, cancellable);
  if (g_cancellable_is_cancelled (cancellable)) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_CANCELLED, "cancelled");
    return FALSE;
  }
  if (complaint == NULL || g_strcmp0 (backup->request->hook_failure, "ignore") == 0)
    return TRUE;
  const BkHookRun *run = backup->hooks->pdata[backup->hooks->len - 1];
  const char *words = last_line (run->output);
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "hook '%s' failed before the point in time: %s%s%s", backup->request->hook, complaint,
               *words ? ": " : "", words);
  return FALSE;
}

void
bk_hook_after (BkBackup *backup, const char *job, bool taken)
{
  if (!backup->hook_due)
    return;
  run_hook (backup, job, "after", taken ? "success" : "failure", NULL);
  backup->hook_due = false;
}
