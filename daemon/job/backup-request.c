/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backup-request.h"

#include "target.h"

#define MOUNTS_MAX 64

static bool
is (const char *word, const char *wanted)
{
  return g_strcmp0 (word, wanted) == 0;
}

static gboolean
refuse (GError **error, const char *message)
{
  g_set_error_literal (error, BK_ERROR, BK_ERROR_INVALID, message);
  return FALSE;
}

static gboolean
check_words (const BkBackupRequest *request, GError **error)
{
  const struct {
    const char *name, *value;
    const char *const *words;
  } rows[] = {
    { "mode", request->mode, bk_modes },
    { "level", request->level, bk_levels },
    { "format", request->format, bk_formats },
    { "quiesce", request->quiesce, bk_quiesce },
    { "hook_failure", request->hook_failure, bk_hook_failures },
    { "sync", request->sync, bk_syncs },
    { "on_source_error", request->on_source_error, bk_source_errors },
    { "on_target_error", request->on_target_error, bk_target_errors },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    if (rows[i].value == NULL || g_strv_contains (rows[i].words, rows[i].value))
      continue;
    g_autofree char *words = g_strjoinv (", ", (GStrv)rows[i].words);
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "%s '%s' does not exist; choose one of: %s", rows[i].name,
                 rows[i].value, words);
    return FALSE;
  }
  return TRUE;
}

/* What this version does not do. */
static gboolean
check_supported (const BkBackupRequest *request, GError **error)
{
  if (is (request->sync, "none"))
    return refuse (error, "sync 'none' makes no backup: such a job holds old data only and never ends by itself; "
                          "what fits is an export");
  return TRUE;
}

static gboolean
check_mounts (const BkBackupRequest *request, GError **error)
{
  size_t count = request->quiesce_mounts ? g_strv_length (request->quiesce_mounts) : 0;
  if (count > 0 && is (request->quiesce, "none"))
    return refuse (error, "quiesce_mounts go with quiesce auto or agent: with none no file system is frozen");
  if (count > MOUNTS_MAX)
    return refuse (error, "quiesce_mounts are too many; leave them out to freeze all file systems");
  /* The guest may be another system: "C:\" is one, too. */
  for (size_t i = 0; i < count; i++)
    if (request->quiesce_mounts[i][0] == '\0')
      return refuse (error, "quiesce_mounts must be mount points in the guest, such as /var/lib/mysql");
  return TRUE;
}

static gboolean
check_level (const BkBackupRequest *request, GError **error)
{
  bool top = is (request->sync, "top");
  bool increment = is (request->level, "incremental") || is (request->level, "differential") || request->since;
  if (request->since && is (request->level, "full"))
    return refuse (error, "since does not go with level full: a full backup holds everything");
  if (top && increment)
    return refuse (error, "sync 'top' goes with level auto or full only, and without since");
  if (top && request->target == NULL)
    return refuse (error, "sync 'top' needs a target: the image alone is not restorable, so no repository takes it");
  if (request->target && is (request->level, "differential") && request->since == NULL)
    return refuse (error, "level differential with a target needs since: which full backup it stands on is not known");
  return TRUE;
}

static gboolean
check_destination (const BkBackupRequest *request, GError **error)
{
  if (request->repository && request->target)
    return refuse (error, "repository and target exclude each other; give one of them");
  if (request->target == NULL && is (request->format, "raw"))
    return refuse (error, "format raw does not go with a repository: it holds qcow2 images; give a target");
  if (request->target && !bk_target_check (request->target, error))
    return FALSE;
  if (request->compress && !is (bk_target_format (request), "qcow2"))
    return refuse (error, "compress goes with format qcow2 only");
  return TRUE;
}

gboolean
bk_backup_request_check (const BkBackupRequest *request, GError **error)
{
  return check_words (request, error) && check_supported (request, error) && check_mounts (request, error) && check_level (request, error) &&
         check_destination (request, error);
}

static gboolean
check_action (const char *name, const char *action, GError **error)
{
  if (action == NULL || is (action, "report"))
    return TRUE;
  g_set_error (error, BK_ERROR, BK_ERROR_INVALID,
               "%s '%s' goes with mode push-direct only: in mode push the guest does not depend on the job, which is "
               "best ended; use 'report'", name, action);
  return FALSE;
}

gboolean
bk_backup_request_check_mode (const BkBackupRequest *request, const char *mode, GError **error)
{
  return is (mode, "push-direct") || (check_action ("on_source_error", request->on_source_error, error) &&
                                      check_action ("on_target_error", request->on_target_error, error));
}

const char *
bk_backup_request_repository (const BkBackupRequest *request)
{
  if (request->target)
    return NULL;
  return request->repository ? request->repository : "default";
}
