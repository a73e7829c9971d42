/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mode.h"

static bool
asks_for (const BkPlanInput *input, const char *mode)
{
  return g_strcmp0 (input->request->mode, mode) == 0;
}

/* --- pull --- */

static gboolean
check_pull_target (const BkPlanInput *input, GError **error)
{
  const BkBackupRequest *request = input->request;
  const char *why = NULL;
  if (input->dedup && request->compress) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "/compress: repository '%s' is of type dedup and compresses all it takes, at the level it was made with (repo add --compression); leave it out",
                 input->repository);
    return FALSE;
  }
  if (request->target == NULL)
    return TRUE;
  if (request->compress)
    why = "compress goes with mode push";
  else if (request->since || (request->level && g_strcmp0 (request->level, "auto") != 0 && g_strcmp0 (request->level, "full") != 0))
    why = "mode pull writes full copies only to a target; use push for increments";
  if (why)
    g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, why);
  return why == NULL;
}

static gboolean
check_pull (const BkPlanInput *input, GError **error)
{
  if (g_strcmp0 (input->request->sync, "top") == 0) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "sync 'top' goes with mode push-direct only: a pull reads what the guest sees");
    return FALSE;
  }
  if (!input->vm->pull) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "this VM cannot be pulled: %s; use mode push into a repository of type qcow2 or to a target",
                 input->vm->no_pull ? input->vm->no_pull : "its QEMU is too old");
    return FALSE;
  }
  if (input->scratch || input->vm->offline)
    return check_pull_target (input, error);
  g_set_error (error, BK_ERROR, BK_ERROR_NO_SPACE, "mode pull keeps old data in scratch space while it reads, and %s",
               input->no_scratch ? input->no_scratch : "there is none");
  return FALSE;
}

static const char *
choose_pull (const BkPlanInput *input, char **reason, GError **error)
{
  if (!check_pull (input, error))
    return NULL;
  if (input->dedup && !asks_for (input, "pull"))
    *reason = g_strdup_printf ("repository '%s' is of type dedup", input->repository);
  return "pull";
}

/* --- push --- */

static char *
why_no_snapshot (const BkPlanInput *input)
{
  if (!input->vm->snapshot_push && input->vm->no_snapshot_push)
    return g_strdup (input->vm->no_snapshot_push);
  if (!input->vm->snapshot_push)
    return g_strdup_printf ("this QEMU (%s) cannot push from a snapshot",
                            input->vm->version ? input->vm->version : "of unknown version");
  if (input->scratch == NULL)
    return g_strdup (input->no_scratch ? input->no_scratch : "there is no scratch space");
  return NULL;
}

static const char *
choose_push (const BkPlanInput *input, char **reason)
{
  if (input->vm->offline)
    return g_strcmp0 (input->request->sync, "top") == 0 || asks_for (input, "push-direct") ? "push-direct" : "push";
  if (asks_for (input, "push-direct"))
    return "push-direct";
  /* Which areas its top image holds QEMU before 8.0 does not tell reliably through a snapshot. */
  if (g_strcmp0 (input->request->sync, "top") == 0) {
    *reason = g_strdup ("sync 'top' reads the disk itself; so writes of the guest wait for the target");
    return "push-direct";
  }
  g_autofree char *obstacle = why_no_snapshot (input);
  if (obstacle) {
    *reason = g_strdup_printf ("%s; so writes of the guest wait for the target", obstacle);
    return "push-direct";
  }
  if (!asks_for (input, "push"))
    *reason = g_strdup ("the guest does not wait for the target");
  return "push";
}

/* --- which --- */

static const char *
choose (const BkPlanInput *input, char **reason, GError **error)
{
  bool pull = asks_for (input, "pull");
  bool push = asks_for (input, "push") || asks_for (input, "push-direct");
  if (input->dedup && push) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "mode '%s' does not go with repository '%s', which is of type dedup: QEMU cannot write there by itself; use mode pull, or a repository of type qcow2",
                 input->request->mode, input->repository);
    return NULL;
  }
  if (pull && input->repository && !input->dedup) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
                 "mode pull does not go with repository '%s', which is of type qcow2: its images are written by QEMU; use mode push, or a repository of type dedup",
                 input->repository);
    return NULL;
  }
  return pull || input->dedup || input->export ? choose_pull (input, reason, error) : choose_push (input, reason);
}

/* Whatever the mode: it says who reads, and from what. A disk that it was given since then is not among them. */
static char *
tell_shut_off (const BkVmState *vm, const char *reason)
{
  g_autofree char *when = bk_time_format (vm->recorded_at);
  return g_strdup_printf ("the VM is shut off: the images of the disks that it was seen with at %s are read by a qemu-storage-daemon of ours%s%s", when,
                          reason ? "; " : "", reason ? reason : "");
}

const char *
bk_mode_choose (const BkPlanInput *input, char **reason, GError **error)
{
  g_autofree char *why = NULL;
  *reason = NULL;
  const char *mode = choose (input, &why, error);
  if (mode)
    *reason = input->vm->offline ? tell_shut_off (input->vm, why) : g_steal_pointer (&why);
  return mode;
}
