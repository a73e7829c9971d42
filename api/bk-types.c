/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bk-types.h"

#include "bk-json-table.h"

#include <math.h>
#include <string.h>

const char *const bk_job_states[] = { "queued",    "preparing", "running", "paused",    "finalizing",
                                      "completed", "partial",   "failed",  "cancelled", NULL };
const char *const bk_job_kinds[] = { "backup", "restore", "delete", "verify", "gc", "copy", "export", NULL };
const char *const bk_finding_states[] = { "ok", "warning", "problem", NULL };
const char *const bk_modes[] = { "auto", "push", "push-direct", "pull", NULL };
const char *const bk_levels[] = { "auto", "full", "incremental", "differential", NULL };
const char *const bk_quiesce[] = { "auto", "agent", "none", NULL };
const char *const bk_hook_failures[] = { "fail", "ignore", NULL };
const char *const bk_formats[] = { "raw", "qcow2", NULL };
const char *const bk_syncs[] = { "full", "top", "none", NULL };
const char *const bk_source_errors[] = { "report", "stop", NULL };
const char *const bk_target_errors[] = { "report", "stop", "enospc", NULL };
const char *const bk_repo_types[] = { "dedup", "qcow2", NULL };
const char *const bk_repo_encryptions[] = { "none", "passphrase", "key-file", NULL };
const char *const bk_export_states[] = { "beginning", "ready", "ending", "ended", "failed", NULL };
const char *const bk_export_results[] = { "success", "failed", NULL };

static const char *const backup_kind[] = { "backup", NULL };
static const char *const restore_kind[] = { "restore", NULL };
static const char *const verify_kind[] = { "verify", NULL };
static const char *const gc_kind[] = { "gc", NULL };
static const char *const copy_kind[] = { "copy", NULL };

static const BkField bk_problem_fields[] = {
  STRING (BkProblem, code, BK_FIELD_REQUIRED),
  STRING (BkProblem, message, BK_FIELD_REQUIRED),
  END,
};
STRUCT (BkProblem, bk_problem, "error");

static const BkField bk_job_disk_fields[] = {
  STRING (BkJobDisk, name, BK_FIELD_REQUIRED),
  STRING (BkJobDisk, level, 0),
  STRING (BkJobDisk, reason, 0),
  STRING (BkJobDisk, state, BK_FIELD_REQUIRED),
  UINT64 (BkJobDisk, size, 0),
  UINT64 (BkJobDisk, bytes_total, 0),
  UINT64 (BkJobDisk, bytes_transferred, 0),
  UINT64 (BkJobDisk, bytes_zero, 0),
  UINT64 (BkJobDisk, bytes_stored, 0),
  UINT64 (BkJobDisk, bytes_different, 0),
  UINT64 (BkJobDisk, bytes_new, 0),
  STRING (BkJobDisk, target, 0),
  OBJECT (BkJobDisk, error, bk_problem_struct, 0),
  END,
};
STRUCT (BkJobDisk, bk_job_disk, "job disk");

static const BkField bk_quiesce_info_fields[] = {
  BOOL (BkQuiesceInfo, quiesced, 0),
  STRING (BkQuiesceInfo, reason, 0),
  UINT64 (BkQuiesceInfo, file_systems, 0),
  UINT64 (BkQuiesceInfo, frozen_ms, 0),
  BOOL (BkQuiesceInfo, thawed, 0),
  END,
};
STRUCT (BkQuiesceInfo, bk_quiesce_info, "freeze of a guest");

static const BkField bk_hook_run_fields[] = {
  STRING (BkHookRun, event, BK_FIELD_REQUIRED),
  STRING (BkHookRun, state, BK_FIELD_REQUIRED),
  STRING (BkHookRun, reason, 0),
  STRING (BkHookRun, output, 0),
  TIME (BkHookRun, started_at, 0),
  TIME (BkHookRun, ended_at, 0),
  END,
};
STRUCT (BkHookRun, bk_hook_run, "run of a hook");

static const BkField bk_job_step_fields[] = {
  STRING (BkJobStep, name, BK_FIELD_REQUIRED),
  STRING (BkJobStep, state, BK_FIELD_REQUIRED),
  TIME (BkJobStep, started_at, 0),
  TIME (BkJobStep, ended_at, 0),
  END,
};
STRUCT (BkJobStep, bk_job_step, "job step");

static const BkField bk_job_info_fields[] = {
  STRING (BkJobInfo, id, BK_FIELD_REQUIRED),
  STRING (BkJobInfo, kind, BK_FIELD_REQUIRED),
  STRING (BkJobInfo, vm, 0),
  WORD (BkJobInfo, state, bk_job_states, BK_FIELD_REQUIRED),
  STRING (BkJobInfo, mode, 0),
  STRING (BkJobInfo, reason, 0),
  STRING (BkJobInfo, repository, 0),
  TIME (BkJobInfo, created_at, 0),
  TIME (BkJobInfo, started_at, 0),
  TIME (BkJobInfo, ended_at, 0),
  TIME (BkJobInfo, point_in_time, 0),
  OBJECT (BkJobInfo, quiesce, bk_quiesce_info_struct, 0),
  STRING (BkJobInfo, step, 0),
  UINT64 (BkJobInfo, speed, 0),
  UINT64 (BkJobInfo, bytes_total, 0),
  UINT64 (BkJobInfo, bytes_transferred, 0),
  UINT64 (BkJobInfo, bytes_zero, 0),
  UINT64 (BkJobInfo, bytes_stored, 0),
  UINT64 (BkJobInfo, bytes_different, 0),
  UINT64 (BkJobInfo, bytes_new, 0),
  UINT64 (BkJobInfo, rate, 0),
  INT64 (BkJobInfo, eta_seconds, BK_FIELD_NULL_IF_NEGATIVE),
  STRING (BkJobInfo, backup_id, 0),
  STRING (BkJobInfo, checkpoint_id, 0),
  STRV (BkJobInfo, actions, 0),
  OBJECT (BkJobInfo, error, bk_problem_struct, 0),
  ARRAY (BkJobInfo, disks, bk_job_disk_struct, 0),
  ARRAY (BkJobInfo, steps, bk_job_step_struct, 0),
  ARRAY (BkJobInfo, hooks, bk_hook_run_struct, 0),
  END,
};
STRUCT (BkJobInfo, bk_job_info, "job");

static const BkField bk_backup_request_fields[] = {
  WORD (BkBackupRequest, kind, backup_kind, 0),
  STRING (BkBackupRequest, id, 0),
  STRING (BkBackupRequest, vm, BK_FIELD_REQUIRED),
  STRV (BkBackupRequest, disks, 0),
  WORD (BkBackupRequest, mode, bk_modes, 0),
  WORD (BkBackupRequest, level, bk_levels, 0),
  STRING (BkBackupRequest, since, 0),
  STRING (BkBackupRequest, repository, 0),
  STRING (BkBackupRequest, target, 0),
  WORD (BkBackupRequest, format, bk_formats, 0),
  UINT64 (BkBackupRequest, speed, 0),
  WORD (BkBackupRequest, quiesce, bk_quiesce, 0),
  STRV (BkBackupRequest, quiesce_mounts, 0),
  STRING (BkBackupRequest, hook, 0),
  WORD (BkBackupRequest, hook_failure, bk_hook_failures, 0),
  BOOL (BkBackupRequest, compress, 0),
  BOOL (BkBackupRequest, force, 0),
  WORD (BkBackupRequest, sync, bk_syncs, 0),
  WORD (BkBackupRequest, on_source_error, bk_source_errors, 0),
  WORD (BkBackupRequest, on_target_error, bk_target_errors, 0),
  BOOL (BkBackupRequest, dry_run, 0),
  END,
};
STRUCT (BkBackupRequest, bk_backup_request, "backup request");

static const BkField bk_restore_request_fields[] = {
  WORD (BkRestoreRequest, kind, restore_kind, BK_FIELD_REQUIRED),
  STRING (BkRestoreRequest, id, 0),
  STRING (BkRestoreRequest, backup, BK_FIELD_REQUIRED),
  STRV (BkRestoreRequest, disks, 0),
  STRING (BkRestoreRequest, output, BK_FIELD_REQUIRED),
  WORD (BkRestoreRequest, format, bk_formats, 0),
  BOOL (BkRestoreRequest, force, 0),
  UINT64 (BkRestoreRequest, speed, 0),
  STRING (BkRestoreRequest, define, 0),
  STRING (BkRestoreRequest, libvirt, 0),
  BOOL (BkRestoreRequest, keep_identity, 0),
  END,
};
STRUCT (BkRestoreRequest, bk_restore_request, "restore request");

static const BkField bk_verify_request_fields[] = {
  WORD (BkVerifyRequest, kind, verify_kind, BK_FIELD_REQUIRED),
  STRING (BkVerifyRequest, id, 0),
  STRING (BkVerifyRequest, backup, 0),
  STRING (BkVerifyRequest, repository, 0),
  UINT64 (BkVerifyRequest, speed, 0),
  END,
};
STRUCT (BkVerifyRequest, bk_verify_request, "verify request");

static const BkField bk_gc_request_fields[] = {
  WORD (BkGcRequest, kind, gc_kind, BK_FIELD_REQUIRED),
  STRING (BkGcRequest, id, 0),
  STRING (BkGcRequest, repository, BK_FIELD_REQUIRED),
  BOOL (BkGcRequest, dry_run, 0),
  END,
};
STRUCT (BkGcRequest, bk_gc_request, "gc request");

static const BkField bk_copy_request_fields[] = {
  WORD (BkCopyRequest, kind, copy_kind, BK_FIELD_REQUIRED),
  STRING (BkCopyRequest, id, 0),
  STRING (BkCopyRequest, backup, BK_FIELD_REQUIRED),
  STRING (BkCopyRequest, to, BK_FIELD_REQUIRED),
  UINT64 (BkCopyRequest, speed, 0),
  END,
};
STRUCT (BkCopyRequest, bk_copy_request, "copy request");

static const BkField bk_plan_disk_info_fields[] = {
  STRING (BkPlanDiskInfo, name, BK_FIELD_REQUIRED),
  STRING (BkPlanDiskInfo, level, BK_FIELD_REQUIRED),
  STRING (BkPlanDiskInfo, reason, 0),
  UINT64 (BkPlanDiskInfo, size, 0),
  UINT64 (BkPlanDiskInfo, bytes_estimated, 0),
  STRING (BkPlanDiskInfo, target, 0),
  STRING (BkPlanDiskInfo, base_checkpoint, 0),
  END,
};
STRUCT (BkPlanDiskInfo, bk_plan_disk_info, "planned disk");

static const BkField bk_plan_info_fields[] = {
  STRING (BkPlanInfo, vm, BK_FIELD_REQUIRED),
  STRING (BkPlanInfo, mode, BK_FIELD_REQUIRED),
  STRING (BkPlanInfo, reason, 0),
  STRING (BkPlanInfo, repository, 0),
  ARRAY (BkPlanInfo, disks, bk_plan_disk_info_struct, 0),
  END,
};
STRUCT (BkPlanInfo, bk_plan_info, "plan");

static const BkField bk_disk_info_fields[] = {
  STRING (BkDiskInfo, name, BK_FIELD_REQUIRED),
  STRV (BkDiskInfo, aliases, 0),
  STRING (BkDiskInfo, qdev, 0),
  STRING (BkDiskInfo, node, 0),
  STRING (BkDiskInfo, format, 0),
  STRING (BkDiskInfo, file, 0),
  UINT64 (BkDiskInfo, size, 0),
  { "class", BK_FIELD_STRING, offsetof (BkDiskInfo, class_name), 0, NULL, NULL },
  BOOL (BkDiskInfo, selected, 0),
  BOOL (BkDiskInfo, incremental, 0),
  STRING (BkDiskInfo, reason, 0),
  STRING (BkDiskInfo, iothread, 0),
  END,
};
STRUCT (BkDiskInfo, bk_disk_info, "disk");

static const BkField bk_vm_info_fields[] = {
  STRING (BkVmInfo, name, BK_FIELD_REQUIRED),
  STRING (BkVmInfo, qmp, 0),
  STRING (BkVmInfo, libvirt, 0),
  STRING (BkVmInfo, domain, 0),
  STRING (BkVmInfo, uuid, 0),
  STRING (BkVmInfo, agent, 0),
  MAP (BkVmInfo, classes, 0),
  STRING (BkVmInfo, state, 0),
  STRING (BkVmInfo, reason, 0),
  STRING (BkVmInfo, qemu_version, 0),
  ARRAY (BkVmInfo, disks, bk_disk_info_struct, BK_FIELD_OMIT_IF_EMPTY),
  STRV (BkVmInfo, jobs, 0),
  TIME (BkVmInfo, added_at, 0),
  TIME (BkVmInfo, recorded_at, BK_FIELD_OMIT_IF_EMPTY),
  END,
};
STRUCT (BkVmInfo, bk_vm_info, "VM");

static const BkField bk_class_chunk_size_fields[] = {
  { "class", BK_FIELD_STRING, offsetof (BkClassChunkSize, class_name), BK_FIELD_REQUIRED, NULL, NULL },
  UINT64 (BkClassChunkSize, chunk_size, BK_FIELD_REQUIRED),
  END,
};
STRUCT (BkClassChunkSize, bk_class_chunk_size, "chunk size of a class");

static const BkField bk_finding_fields[] = {
  STRING (BkFinding, subject, BK_FIELD_REQUIRED),
  STRING (BkFinding, check, BK_FIELD_REQUIRED),
  WORD (BkFinding, state, bk_finding_states, BK_FIELD_REQUIRED),
  STRING (BkFinding, detail, BK_FIELD_REQUIRED),
  STRING (BkFinding, fix, 0),
  END,
};
STRUCT (BkFinding, bk_finding, "finding");

static const BkField bk_diagnosis_fields[] = {
  STRING (BkDiagnosis, version, 0),
  WORD (BkDiagnosis, state, bk_finding_states, BK_FIELD_REQUIRED),
  ARRAY (BkDiagnosis, findings, bk_finding_struct, 0),
  END,
};
STRUCT (BkDiagnosis, bk_diagnosis, "diagnosis");

static const BkField bk_domain_info_fields[] = {
  STRING (BkDomainInfo, name, BK_FIELD_REQUIRED),
  STRING (BkDomainInfo, uuid, 0),
  STRING (BkDomainInfo, state, 0),
  BOOL (BkDomainInfo, persistent, 0),
  STRING (BkDomainInfo, vm, 0),
  END,
};
STRUCT (BkDomainInfo, bk_domain_info, "domain");

static const BkField bk_repository_info_fields[] = {
  STRING (BkRepositoryInfo, name, BK_FIELD_REQUIRED),
  WORD (BkRepositoryInfo, type, bk_repo_types, 0),
  STRING (BkRepositoryInfo, path, BK_FIELD_REQUIRED),
  UINT64 (BkRepositoryInfo, chunk_size, 0),
  ARRAY (BkRepositoryInfo, class_chunk_sizes, bk_class_chunk_size_struct, BK_FIELD_OMIT_IF_EMPTY),
  UINT64 (BkRepositoryInfo, compression, 0),
  WORD (BkRepositoryInfo, encryption, bk_repo_encryptions, 0),
  STRING (BkRepositoryInfo, passphrase_file, 0),
  STRING (BkRepositoryInfo, key_file, 0),
  STRING (BkRepositoryInfo, state, 0),
  STRING (BkRepositoryInfo, reason, 0),
  UINT64 (BkRepositoryInfo, backups, 0),
  UINT64 (BkRepositoryInfo, bytes_stored, 0),
  UINT64 (BkRepositoryInfo, bytes_free, 0),
  UINT64 (BkRepositoryInfo, bytes_logical, 0),
  UINT64 (BkRepositoryInfo, bytes_unique, 0),
  UINT64 (BkRepositoryInfo, bytes_reclaimable, 0),
  UINT64 (BkRepositoryInfo, packs, 0),
  UINT64 (BkRepositoryInfo, chunks, 0),
  UINT64 (BkRepositoryInfo, trash, 0),
  UINT64 (BkRepositoryInfo, damaged_chunks, 0),
  TIME (BkRepositoryInfo, verified_at, 0),
  TIME (BkRepositoryInfo, created_at, 0),
  END,
};
STRUCT (BkRepositoryInfo, bk_repository_info, "repository");

static const BkField bk_backup_disk_fields[] = {
  STRING (BkBackupDisk, name, BK_FIELD_REQUIRED),
  STRING (BkBackupDisk, level, BK_FIELD_REQUIRED),
  STRING (BkBackupDisk, state, BK_FIELD_REQUIRED),
  STRING (BkBackupDisk, file, 0),
  STRING (BkBackupDisk, format, 0),
  UINT64 (BkBackupDisk, size, 0),
  UINT64 (BkBackupDisk, bytes_transferred, 0),
  UINT64 (BkBackupDisk, bytes_zero, 0),
  UINT64 (BkBackupDisk, bytes_stored, 0),
  UINT64 (BkBackupDisk, bytes_different, BK_FIELD_OMIT_IF_EMPTY),
  UINT64 (BkBackupDisk, bytes_new, BK_FIELD_OMIT_IF_EMPTY),
  STRING (BkBackupDisk, parent, 0),
  STRING (BkBackupDisk, checkpoint, 0),
  STRING (BkBackupDisk, qdev, 0),
  STRING (BkBackupDisk, node, 0),
  STRING (BkBackupDisk, source_format, 0),
  STRING (BkBackupDisk, source_file, 0),
  OBJECT (BkBackupDisk, error, bk_problem_struct, 0),
  END,
};
STRUCT (BkBackupDisk, bk_backup_disk, "backup disk");

static const BkField bk_backup_info_fields[] = {
  UINT64 (BkBackupInfo, version, 0),
  STRING (BkBackupInfo, id, BK_FIELD_REQUIRED),
  STRING (BkBackupInfo, vm, BK_FIELD_REQUIRED),
  STRING (BkBackupInfo, job_id, 0),
  STRING (BkBackupInfo, copy_of, BK_FIELD_OMIT_IF_EMPTY),
  STRING (BkBackupInfo, repository, 0),
  STRING (BkBackupInfo, location, 0),
  STRING (BkBackupInfo, state, BK_FIELD_REQUIRED),
  STRING (BkBackupInfo, mode, 0),
  STRING (BkBackupInfo, qemu_version, 0),
  TIME (BkBackupInfo, point_in_time, BK_FIELD_REQUIRED),
  TIME (BkBackupInfo, completed_at, 0),
  BOOL (BkBackupInfo, guest_running, 0),
  BOOL (BkBackupInfo, quiesced, 0),
  UINT64 (BkBackupInfo, size, 0),
  UINT64 (BkBackupInfo, bytes_stored, 0),
  BOOL (BkBackupInfo, pinned, BK_FIELD_OMIT_IF_EMPTY),
  BOOL (BkBackupInfo, damaged, BK_FIELD_OMIT_IF_EMPTY),
  TIME (BkBackupInfo, verified_at, BK_FIELD_OMIT_IF_EMPTY),
  TIME (BkBackupInfo, deleted_at, BK_FIELD_OMIT_IF_EMPTY),
  ARRAY (BkBackupInfo, disks, bk_backup_disk_struct, BK_FIELD_REQUIRED),
  END,
};
STRUCT (BkBackupInfo, bk_backup_info, "backup");

static const BkField bk_checkpoint_disk_fields[] = {
  STRING (BkCheckpointDisk, name, BK_FIELD_REQUIRED),
  STRING (BkCheckpointDisk, bitmap, BK_FIELD_REQUIRED),
  STRING (BkCheckpointDisk, parent, 0),
  STRING (BkCheckpointDisk, state, 0),
  UINT64 (BkCheckpointDisk, size, 0),
  BOOL (BkCheckpointDisk, persistent, 0),
  END,
};
STRUCT (BkCheckpointDisk, bk_checkpoint_disk, "checkpoint disk");

static const BkField bk_checkpoint_info_fields[] = {
  STRING (BkCheckpointInfo, id, BK_FIELD_REQUIRED),
  STRING (BkCheckpointInfo, name, 0),
  STRING (BkCheckpointInfo, vm, BK_FIELD_REQUIRED),
  STRING (BkCheckpointInfo, backup_id, 0),
  STRING (BkCheckpointInfo, job_id, 0),
  TIME (BkCheckpointInfo, created_at, 0),
  ARRAY (BkCheckpointInfo, disks, bk_checkpoint_disk_struct, 0),
  END,
};
STRUCT (BkCheckpointInfo, bk_checkpoint_info, "checkpoint");

static const BkField bk_checkpoint_request_fields[] = {
  STRING (BkCheckpointRequest, vm, BK_FIELD_REQUIRED),
  STRV (BkCheckpointRequest, disks, 0),
  STRING (BkCheckpointRequest, name, 0),
  END,
};
STRUCT (BkCheckpointRequest, bk_checkpoint_request, "checkpoint request");

static const BkField bk_export_request_fields[] = {
  STRING (BkExportRequest, vm, BK_FIELD_REQUIRED),
  STRING (BkExportRequest, id, 0),
  STRV (BkExportRequest, disks, 0),
  STRING (BkExportRequest, since, 0),
  STRING (BkExportRequest, listen, 0),
  STRING (BkExportRequest, tls, 0),
  UINT64 (BkExportRequest, timeout_seconds, 0),
  WORD (BkExportRequest, quiesce, bk_quiesce, 0),
  STRV (BkExportRequest, quiesce_mounts, 0),
  STRING (BkExportRequest, hook, 0),
  WORD (BkExportRequest, hook_failure, bk_hook_failures, 0),
  END,
};
STRUCT (BkExportRequest, bk_export_request, "export request");

static const BkField bk_export_disk_fields[] = {
  STRING (BkExportDisk, name, BK_FIELD_REQUIRED),
  STRING (BkExportDisk, uri, 0),
  STRING (BkExportDisk, export_name, 0),
  STRING (BkExportDisk, dirty_context, 0),
  UINT64 (BkExportDisk, size, 0),
  STRING (BkExportDisk, level, 0),
  STRING (BkExportDisk, reason, 0),
  OBJECT (BkExportDisk, error, bk_problem_struct, 0),
  END,
};
STRUCT (BkExportDisk, bk_export_disk, "exported disk");

static const BkField bk_export_info_fields[] = {
  STRING (BkExportInfo, id, BK_FIELD_REQUIRED),
  STRING (BkExportInfo, vm, BK_FIELD_REQUIRED),
  WORD (BkExportInfo, state, bk_export_states, BK_FIELD_REQUIRED),
  STRING (BkExportInfo, checkpoint_id, 0),
  TIME (BkExportInfo, created_at, 0),
  TIME (BkExportInfo, point_in_time, 0),
  TIME (BkExportInfo, expires_at, 0),
  TIME (BkExportInfo, ended_at, 0),
  OBJECT (BkExportInfo, quiesce, bk_quiesce_info_struct, 0),
  OBJECT (BkExportInfo, error, bk_problem_struct, 0),
  ARRAY (BkExportInfo, disks, bk_export_disk_struct, 0),
  END,
};
STRUCT (BkExportInfo, bk_export_info, "export");

static const BkField bk_export_end_fields[] = {
  WORD (BkExportEnd, result, bk_export_results, BK_FIELD_REQUIRED),
  END,
};
STRUCT (BkExportEnd, bk_export_end, "end of an export");

static const BkField bk_serve_request_fields[] = {
  STRING (BkServeRequest, backup, BK_FIELD_REQUIRED),
  STRING (BkServeRequest, disk, BK_FIELD_REQUIRED),
  STRING (BkServeRequest, listen, 0),
  END,
};
STRUCT (BkServeRequest, bk_serve_request, "serve request");

static const BkField bk_serve_info_fields[] = {
  STRING (BkServeInfo, id, BK_FIELD_REQUIRED),
  STRING (BkServeInfo, backup, BK_FIELD_REQUIRED),
  STRING (BkServeInfo, disk, BK_FIELD_REQUIRED),
  STRING (BkServeInfo, uri, BK_FIELD_REQUIRED),
  UINT64 (BkServeInfo, size, 0),
  TIME (BkServeInfo, created_at, 0),
  END,
};
STRUCT (BkServeInfo, bk_serve_info, "serve");

BkProblem *
bk_problem_new (const GError *error)
{
  BkProblem *problem = g_new0 (BkProblem, 1);
  problem->code = g_strdup (bk_error_entry_of (error)->name);
  problem->message = g_strdup (error->message);
  return problem;
}

static bool
is_word (const char *text, const char *more)
{
  size_t length = strlen (text);
  if (length < 1 || length > 64)
    return false;
  for (size_t i = 0; i < length; i++)
    if (!g_ascii_isalnum (text[i]) && strchr (more, text[i]) == NULL)
      return false;
  return true;
}

bool
bk_id_is_valid (const char *id)
{
  return is_word (id, "._-");
}

bool
bk_name_is_valid (const char *name)
{
  return is_word (name, "._-") && g_ascii_isalnum (name[0]);
}

static bool
suffix_factor (const char *suffix, double *factor)
{
  static const char letters[] = "KMGT";
  *factor = 1;
  if (*suffix == '\0' || g_ascii_strcasecmp (suffix, "b") == 0)
    return true;
  const char *letter = strchr (letters, g_ascii_toupper (*suffix));
  if (letter == NULL)
    return false;
  *factor = pow (1024, (double)(letter - letters + 1));
  return suffix[1] == '\0' || g_ascii_strcasecmp (suffix + 1, "i") == 0 ||
         g_ascii_strcasecmp (suffix + 1, "b") == 0 || g_ascii_strcasecmp (suffix + 1, "ib") == 0;
}

gboolean
bk_size_parse (const char *text, uint64_t *bytes, GError **error)
{
  size_t digits = strspn (text, "0123456789.");
  g_autofree char *number_text = g_strndup (text, digits);
  char *end = NULL;
  double factor = 1;
  double number = g_ascii_strtod (number_text, &end);
  bool ok = g_ascii_isdigit (text[0]) && *end == '\0' && suffix_factor (text + digits, &factor);
  if (!ok || number * factor >= 9e18) {
    g_set_error (error, BK_ERROR, BK_ERROR_INVALID, "'%s' is not a size; write for example 10M, 1.5G or 0", text);
    return FALSE;
  }
  *bytes = (uint64_t)(number * factor);
  return TRUE;
}

char *
bk_size_format (uint64_t bytes)
{
  static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
  double number = (double)bytes;
  size_t unit = 0;
  for (; number >= 1024 && unit + 1 < G_N_ELEMENTS (units); unit++)
    number /= 1024;
  return unit == 0 ? g_strdup_printf ("%.0f B", number) : g_strdup_printf ("%.1f %s", number, units[unit]);
}

char *
bk_path_component_escape (const char *name)
{
  GString *escaped = g_string_new (*name == '\0' ? "%" : NULL);
  for (const char *at = name; *at != '\0'; at++) {
    bool plain = g_ascii_isalnum (*at) || (at != name && strchr ("._-", *at) != NULL);
    g_string_append_printf (escaped, plain ? "%c" : "%%%02X", (unsigned char)*at);
  }
  return g_string_free (escaped, FALSE);
}
