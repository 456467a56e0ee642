variable "region" {
  description = "AWS region of the lake, its catalogue and the cluster."
  type        = string

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region is spelt like eu-west-1."
  }
}

variable "bucket_name" {
  description = "Name of the lake's bucket; global among all of AWS."
  type        = string

  # A dot in the name breaks TLS on the virtual-hosted address, and TLS is all the bucket accepts.
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name has 3 to 63 lower-case letters, digits and hyphens, and neither begins nor ends with a hyphen."
  }
}

variable "cluster_name" {
  description = "Name of the EKS cluster, which has the add-on eks-pod-identity-agent."
  type        = string

  validation {
    condition     = can(regex("^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$", var.cluster_name))
    error_message = "cluster_name has 1 to 100 letters, digits, hyphens and underscores, and begins with a letter or a digit."
  }
}

variable "kubernetes_namespace" {
  description = "Kubernetes namespace of the Helm release."
  type        = string
  default     = "quantlake"

  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.kubernetes_namespace))
    error_message = "kubernetes_namespace is a DNS label: lower-case letters, digits and hyphens."
  }
}

variable "pipeline_service_account" {
  description = "Service account of the code location and of every run, as deploy/dagster-values.yaml names it."
  type        = string
  default     = "quantlake"
}

variable "dagster_service_account" {
  description = "Service account of Dagster's web server and daemon, as deploy/dagster-values.yaml names it."
  type        = string
  default     = "dagster"
}

variable "noncurrent_version_days" {
  description = "Days for which an overwritten or deleted object can still be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_version_days >= 7 && floor(var.noncurrent_version_days) == var.noncurrent_version_days
    error_message = "noncurrent_version_days is a whole number of days, at least 7: a mistake is seldom noticed sooner."
  }
}
