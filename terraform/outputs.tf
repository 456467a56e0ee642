output "settings" {
  description = "The settings that follow from this module, by the names QuantLake reads them under."
  value       = local.settings
}

output "settings_env" {
  description = "The same as NAME=value lines, to append to deploy/settings.env."
  value       = join("", [for name, value in local.settings : "${name}=${value}\n"])
}

output "bucket_name" {
  description = "The lake's bucket, which holds Dagster's compute logs too."
  value       = aws_s3_bucket.lake.bucket
}

output "compute_logs_prefix" {
  description = "Where Dagster's compute logs lie in it."
  value       = local.compute_logs_prefix
}

output "pod_role_arns" {
  description = "The role of the pipeline's pods and that of Dagster's own."
  value       = { for name, role in aws_iam_role.pod : name => role.arn }
}

locals {
  settings = {
    QUANTLAKE_PROFILE            = "production"
    QUANTLAKE_CATALOG_TYPE       = "glue"
    QUANTLAKE_CATALOG_WAREHOUSE  = local.warehouse
    QUANTLAKE_CATALOG_PROPERTIES = jsonencode({ "glue.region" = var.region, "s3.region" = var.region })
  }
}
