"""The smallest student that keeps what its teacher knows, under a budget: shapes that fit, a search
among them, finals, and a certificate.
"""
