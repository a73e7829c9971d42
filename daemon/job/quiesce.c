/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "quiesce.h"

#include "freeze.h"

/* --- plan --- */

static void
set_reason (BkRun *run, const char *reason)
{
  g_free (run->quiesce->reason);
  run->quiesce->reason = g_strdup (reason);
}

gboolean
bk_quiesce_plan (BkRun *run, const BkBackupRequest *request, const char *agent, GError **error)
{
  bk_quiesce_info_free (run->quiesce);
  run->quiesce = g_new0 (BkQuiesceInfo, 1);
  run->must_quiesce = g_strcmp0 (request->quiesce, "agent") == 0;
  if (g_strcmp0 (request->quiesce, "none") == 0) {
    set_reason (run, "it was not asked for");
    return TRUE;
  }
  if (agent == NULL && run->must_quiesce) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "/quiesce: no socket of a guest agent is known for VM '%s'; remove it and add it again with --agent SOCKET, or use auto or none",
                 request->vm);
    return FALSE;
  }
  if (agent == NULL)
    set_reason (run, "no guest agent is known for the VM");
  run->agent = g_strdup (agent);
  run->may_be_frozen = agent != NULL;
  g_strfreev (run->quiesce_mounts);
  run->quiesce_mounts = g_strdupv (request->quiesce_mounts);
  return TRUE;
}

/* --- around the instant --- */

typedef struct {
  BkBackup *backup;
  BkFreeze *freeze; /* NULL: the guest is not frozen by us */
  bool asked;       /* the backend has come to the instant */
} Quiesce;

static void
end_freeze (Quiesce *quiesce)
{
  BkRun *run = quiesce->backup->run;
  if (quiesce->freeze)
    bk_freeze_end (quiesce->freeze, run->quiesce);
  g_clear_pointer (&quiesce->freeze, bk_freeze_free);
  run->may_be_frozen = !run->quiesce->thawed;
}

static gboolean
freeze (Quiesce *quiesce, GCancellable *cancellable, GError **error)
{
  const BkRun *run = quiesce->backup->run;
  if (!run->guest_running) {
    g_set_error_literal (error, BK_ERROR, BK_ERROR_FAILED, "the guest does not run, so its agent cannot answer");
    return FALSE;
  }
  quiesce->freeze = bk_freeze_new (run->agent, (const char *const *)run->quiesce_mounts, quiesce->backup->freeze_limit_ms, error);
  return quiesce->freeze && bk_freeze_begin (quiesce->freeze, cancellable, error);
}

static gboolean
before_instant (gpointer data, GCancellable *cancellable, GError **error)
{
  Quiesce *quiesce = data;
  BkRun *run = quiesce->backup->run;
  g_autoptr (GError) refusal = NULL;
  quiesce->asked = true;
  if (freeze (quiesce, cancellable, &refusal))
    return TRUE;
  if (quiesce->freeze)
    end_freeze (quiesce);
  else
    run->may_be_frozen = false;
  set_reason (run, refusal->message);
  if (g_error_matches (refusal, BK_ERROR, BK_ERROR_CANCELLED)) {
    g_propagate_error (error, g_steal_pointer (&refusal));
    return FALSE;
  }
  if (run->must_quiesce)
    g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the guest could not be frozen: %s", refusal->message);
  else
    g_message ("VM '%s': the guest is not frozen for the backup: %s", quiesce->backup->request->vm, refusal->message);
  return !run->must_quiesce;
}

static void
after_instant (gpointer data)
{
  Quiesce *quiesce = data;
  const BkQuiesceInfo *info = quiesce->backup->run->quiesce;
  if (quiesce->freeze == NULL)
    return;
  end_freeze (quiesce);
  if (info->quiesced)
    g_message ("VM '%s': the guest was frozen %.3f s, and its agent says that it is thawed", quiesce->backup->request->vm, (double)info->frozen_ms / 1000);
  else
    g_warning ("VM '%s': %s", quiesce->backup->request->vm, info->reason);
}

/* An instant that was not quiesced is no use to who has insisted on it. */
static gboolean
check_held (const BkRun *run, GError **error)
{
  if (!run->must_quiesce || run->quiesce->quiesced)
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_FAILED, "the backup would not be quiesced: %s", run->quiesce->reason);
  return FALSE;
}

gboolean
bk_quiesce_take (BkBackup *backup, BkTakeInstant take, GCancellable *cancellable, GError **error)
{
  BkRun *run = backup->run;
  BkBackend *backend = bk_vm_backend (backup->vm);
  if (run->agent == NULL)
    return take (backend, run, cancellable, error);
  Quiesce quiesce = { .backup = backup };
  const BkInstant instant = { before_instant, after_instant, &quiesce };
  run->instant = &instant;
  gboolean ok = take (backend, run, cancellable, error);
  run->instant = NULL;
  if (!quiesce.asked) { /* as with a VM that is shut off */
    run->may_be_frozen = false;
    if (ok)
      set_reason (run, "no guest was running that could be frozen");
  }
  return ok && check_held (run, error);
}

/* --- undo --- */

void
bk_quiesce_undo (BkRun *run)
{
  g_autoptr (GError) error = NULL;
  if (run == NULL || run->agent == NULL || !run->may_be_frozen)
    return;
  if (run->quiesce == NULL)
    run->quiesce = g_new0 (BkQuiesceInfo, 1);
  run->quiesce->quiesced = false;
  run->quiesce->thawed = bk_freeze_thaw_left (run->agent, &error);
  run->may_be_frozen = !run->quiesce->thawed;
  if (run->quiesce->thawed) {
    g_message ("run %s: the agent says that the guest is thawed", run->prefix);
    return;
  }
  set_reason (run, error->message);
  g_warning ("run %s: it is not known whether the guest is thawed: %s", run->prefix, error->message);
}
